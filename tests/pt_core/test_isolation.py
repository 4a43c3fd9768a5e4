from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pt_core.errors import ParityError, StepFailed
from pt_core.isolation import CODE_PATH_VARIABLE, Progress, report_progress, run_isolated
from pt_core.modeling.allocation import allocation_environment
from pt_core.record import Record

HERE = Path(__file__).parent


class Word(Record):
    text: str
    number: int = 0


@pytest.fixture(autouse=True)
def _steps_are_on_the_code_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CODE_PATH_VARIABLE, str(HERE))


def run(name: str, text: str = "word", number: int = 0, *, timeout_s: float = 60, **more) -> Word:
    request = Word(text=text, number=number)
    return run_isolated(f"isolated_steps:{name}", request, reply=Word, timeout_s=timeout_s, **more)


def wait_until(claim: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if claim():
            return True
        time.sleep(0.02)
    return claim()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_record_goes_to_another_process_and_comes_back() -> None:
    reply = run("echo", "word")
    assert reply.text == "drow"
    assert reply.number not in (0, os.getpid())


def test_a_module_beside_the_user_is_found_and_never_shadows_a_library() -> None:
    reply = run("path_position")
    assert Path(reply.text).name == "isolated_steps.py"
    assert reply.number == 0


def test_a_module_off_the_code_path_is_a_failure_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CODE_PATH_VARIABLE)
    with pytest.raises(StepFailed, match="No module named 'isolated_steps'"):
        run("echo")


def test_a_typed_error_arrives_as_itself_with_its_details() -> None:
    with pytest.raises(ParityError) as caught:
        run("raise_typed")
    assert caught.value.message == "differs by 0.5"
    assert caught.value.details == ("batch 1", "batch 7")


@pytest.mark.parametrize(
    ("name", "number", "message", "tail"),
    [
        ("raise_plainly", 0, "ZeroDivisionError: word", "in raise_plainly"),
        ("segfault", 0, "killed by SIGSEGV", "about to crash"),
        ("segfault", 0, "killed by SIGSEGV", "in segfault"),
        ("abort", 0, "killed by SIGABRT", "in abort"),
        ("leave", 7, "exited with code 7 and no result", "leaving"),
        ("leave", 0, "exited with code 0 and no result", "leaving"),
        ("leave_politely", 5, "SystemExit: 5", "in leave_politely"),
        ("exhaust_memory", 0, "MemoryError", "in exhaust_memory"),
        ("reply_something_else", 0, "replied no Word", ""),
        ("reply_no_record", 0, "AssertionError", "in call"),
    ],
)
def test_every_way_to_die_is_a_failure_with_the_end_of_the_output(
    name: str, number: int, message: str, tail: str
) -> None:
    with pytest.raises(StepFailed) as caught:
        run(name, number=number)
    assert f"isolated_steps:{name}" in caught.value.message
    assert message in caught.value.message
    assert tail in "\n".join(caught.value.details)


def test_a_flood_of_output_is_cut_to_its_last_lines() -> None:
    with pytest.raises(StepFailed) as caught:
        run("flood")
    assert len(caught.value.details) <= 30
    assert "line 19" in caught.value.details[-1]


def test_a_step_that_hangs_is_killed_at_its_limit_with_what_it_started(tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(StepFailed, match="no result after 4 s, killed"):
        run("hang_with_a_grandchild", str(tmp_path / "pids"), timeout_s=4)
    assert time.monotonic() - begin < 15
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert wait_until(lambda: not any(map(is_running, pids)))


@pytest.mark.parametrize("name", ["hang_with_a_grandchild", "hang_holding_the_interpreter"])
def test_a_step_dies_when_its_parent_is_killed(tmp_path: Path, name: str) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from isolated_steps import Word\n"
        "from pt_core.isolation import run_isolated\n"
        f"run_isolated('isolated_steps:{name}', Word(text=sys.argv[2]), reply=Word, timeout_s=600)"
    )
    pids_file = tmp_path / "pids"
    parent = subprocess.Popen([sys.executable, "-c", code, str(HERE), str(pids_file)])
    try:
        assert wait_until(pids_file.exists)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    pids = [int(pid) for pid in pids_file.read_text().split()]
    assert wait_until(lambda: not any(map(is_running, pids)))


def test_progress_arrives_in_order() -> None:
    seen: list[Progress] = []
    run("count", "epoch", 5, on_progress=seen.append)
    assert [(p.done, p.total, p.message) for p in seen] == [(n, 5, "epoch") for n in range(1, 6)]


def test_a_long_message_is_cut() -> None:
    seen: list[Progress] = []
    run("count", "x" * 10_000, 1, on_progress=seen.append)
    assert seen[0].message == "x" * 500


def test_progress_of_a_process_that_the_step_started_goes_into_no_file_of_its_own() -> None:
    seen: list[Progress] = []
    assert run("count_in_a_grandchild", on_progress=seen.append).text == "0"
    assert seen == []


def test_progress_without_a_listener_does_nothing() -> None:
    report_progress(1, 2, "nobody")


def test_threads_and_safe_loading_are_set_for_the_child() -> None:
    assert run("environment", num_threads=1).text == "1 1"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have a heap of their own")
def test_what_a_training_frees_goes_back_to_the_system_where_it_saves_memory() -> None:
    kept, given_back = (
        run("free_every_other_piece", environment=allocation_environment(choice)).number
        for choice in (False, True)
    )
    assert kept > 120
    assert given_back < 80


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have a heap of their own")
def test_what_a_step_of_a_training_frees_is_there_for_the_next() -> None:
    new, kept = (
        run("take_the_same_again", environment=environment).number
        for environment in ({}, allocation_environment(False))
    )
    assert new > 10_000
    assert kept < 100


def test_what_the_user_said_of_the_allocation_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.perturb=1")
    assert "GLIBC_TUNABLES" not in allocation_environment(["blocks.*"])


def test_the_devices_refusal_of_a_write_is_a_full_disk() -> None:
    with pytest.raises(
        StepFailed, match=r"No space left on device.*: the disk is full, free are [\d,]+ bytes in"
    ):
        run("fill_a_full_device")


def test_memory_within_the_limit_is_left_alone() -> None:
    assert run("take_memory", number=2**26, max_memory_bytes=2**28).number == 2**26


def test_memory_over_the_limit_is_taken_away() -> None:
    with pytest.raises(StepFailed, match=r"took 0\.\d\d GiB of memory, the limit is 0\.06 GiB, killed"):
        run("take_memory", number=2**28, max_memory_bytes=2**26)


def test_a_typed_error_brings_the_end_of_the_output() -> None:
    with pytest.raises(ParityError) as caught:
        run("raise_typed")
    assert caught.value.output == "about to differ\n"
