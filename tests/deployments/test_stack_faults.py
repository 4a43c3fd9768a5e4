"""What happens around a stack: closed terminals, clocks that are set, files that vanish, foreign files, odd folders."""

from __future__ import annotations

import subprocess
import sys

SPEAKS = """
import pathlib, sys
from deployments.stack.screen import Screen
sys.stdin.read()
screen = Screen()
with screen.waiting("x"):
    screen.started("prefect", "http://p:1", 1.0)
screen.warn("one")
screen.log("prefect", ["a line"])
screen.say("stopping")
pathlib.Path(sys.argv[1]).write_text("stopped in order")
"""


def test_a_screen_that_nobody_reads_any_more_keeps_nothing_from_being_stopped(tmp_path):
    done = tmp_path / "done"
    speaker = subprocess.Popen(
        [sys.executable, "-c", SPEAKS, str(done)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for stream in (speaker.stdout, speaker.stderr, speaker.stdin):
        stream.close()

    assert speaker.wait(30) == 0
    assert done.read_text() == "stopped in order"
