import subprocess
import sys
from pathlib import Path

import pytest

from pt_core.evaluation.memory import mark_peak, peak_growth

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux /proc to reset a peak"
)

CHILD = """
from pt_core.evaluation.memory import mark_peak, peak_growth
before = mark_peak()
block = bytearray(64 * 2**20)
del block
print(peak_growth(before) // 2**20)
"""


@needs_proc
def test_the_peak_grows_by_what_was_held_and_given_back():
    before = mark_peak()
    block = bytearray(b"\1") * (64 * 2**20)
    del block
    assert 60 * 2**20 < peak_growth(before) < 80 * 2**20


@needs_proc
def test_an_earlier_peak_is_forgotten():
    block = bytearray(b"\1") * (128 * 2**20)
    del block
    assert peak_growth(mark_peak()) < 16 * 2**20


@needs_proc
def test_a_child_does_not_inherit_the_peak_of_the_process_that_started_it():
    block = bytearray(b"\1") * (256 * 2**20)
    child = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=True, start_new_session=True
    )
    del block
    assert 60 <= int(child.stdout) <= 80


def test_what_the_kernel_does_not_tell_is_undefined():
    assert peak_growth(None) is None
