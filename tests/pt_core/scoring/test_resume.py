"""What a killed scoring had finished is used again where its bytes agree, and the output is that of an uninterrupted one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pt_core.errors import ConfigError, DataError
from pt_core.scoring.journal import folder_of, locked
from pt_core.scoring.requests import ScoreRequest

NUM_ROWS = 10 * 2**14 + 100
"""Eleven blocks of the table's rows."""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.npy"
    values = np.random.default_rng(0).normal(size=(NUM_ROWS, 8)).astype(np.float32)
    values[70_000] = np.nan
    np.save(path, values)
    return path


def num_parts(output: Path) -> int:
    """Return how many parts a scoring has finished so far."""
    journal = folder_of(output) / "journal.jsonl"
    return max(0, len(journal.read_bytes().splitlines()) - 1) if journal.exists() else 0


def wait_for_parts(output: Path, number: int, is_alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while num_parts(output) < number:
        assert is_alive(), "it ended before anything could happen to it"
        assert time.monotonic() < deadline
        time.sleep(0.001)


def interrupt(request: ScoreRequest, *, after_parts: int) -> None:
    """Score in a real process, and kill it with SIGKILL once it has finished so many parts."""
    output = Path(request.output)
    scratch = output.with_suffix(".scratch")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    (scratch / "request.json").write_text(request.to_json())
    command = [sys.executable, "-m", "pt_core.child", "pt_core.scoring.score:score", str(scratch)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as child:
        wait_for_parts(output, after_parts, lambda: child.poll() is None)
        os.killpg(child.pid, signal.SIGKILL)
    assert not output.exists()


@pytest.fixture
def request_(table, source, output):
    return ScoreRequest(
        artifact=table, source=str(source), output=str(output), bad_rows="skip", part_seconds=0
    )


@pytest.fixture
def whole(table, source, scored, tmp_path):
    """The output of a scoring that nothing happened to."""
    path = tmp_path / "whole.parquet"
    scored(table, source, output=str(path), bad_rows="skip", part_seconds=1000)
    return path


def check_same(output: Path, whole: Path) -> None:
    assert pq.read_table(output).equals(pq.read_table(whole))
    assert output.read_bytes() == whole.read_bytes()
    sides = [path.with_name(f"{path.stem}.bad-rows.csv").read_bytes() for path in (output, whole)]
    assert sides[0] == sides[1]
    assert not folder_of(output).exists()


def test_a_killed_scoring_goes_on_and_its_output_is_that_of_an_uninterrupted_one(
    table, source, scored, output, request_, whole
):
    interrupt(request_, after_parts=6)
    reply = scored(table, source, bad_rows="skip")
    assert 6 * 2**14 <= reply.num_resumed_rows < NUM_ROWS
    check_same(output, whole)


@pytest.mark.campaign
def test_ten_kills_one_after_the_other_change_no_answer(table, source, scored, output, request_, whole):
    for after_parts in range(1, 11):
        interrupt(request_, after_parts=after_parts)
    assert scored(table, source, bad_rows="skip").num_resumed_rows >= 10 * 2**14
    check_same(output, whole)


@pytest.fixture
def parts(table, source, scored, output):
    """What a scoring that was refused at its bad row, in the fifth block, has left."""
    with pytest.raises(DataError):
        scored(table, source)
    assert num_parts(output) == 5
    return folder_of(output)


def test_parts_whose_bytes_are_damaged_are_scored_again(table, source, scored, output, parts, whole):
    damaged = parts / "part-000001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert scored(table, source, bad_rows="skip").num_resumed_rows == 2**14
    check_same(output, whole)


def test_a_journal_that_was_cut_in_its_last_line_keeps_the_parts_before(
    table, source, scored, output, parts, whole
):
    journal = parts / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])
    assert scored(table, source, bad_rows="skip").num_resumed_rows == 4 * 2**14
    check_same(output, whole)


def test_parts_of_another_input_are_of_no_use(table, source, scored, parts):
    values = np.load(source)
    values[0] += 1
    np.save(source, values)
    assert scored(table, source, bad_rows="skip").num_resumed_rows == 0


def test_two_at_once_do_not_write_one_output(table, source, scored, output):
    with locked(folder_of(output)), pytest.raises(ConfigError, match="another process is scoring into it"):
        scored(table, source, bad_rows="skip")


def test_an_input_that_changes_meanwhile_is_refused(table, source, scored, output):
    def touch():
        wait_for_parts(output, 1, lambda: True)
        os.utime(source, (1, 1))

    touching = threading.Thread(target=touch)
    touching.start()
    with pytest.raises(DataError, match="changed while it was scored"):
        scored(table, source, bad_rows="skip")
    touching.join()
    assert not output.exists()


def test_a_kill_after_the_last_write_leaves_nothing_behind_for_long(table, source, scored, output):
    first = scored(table, source, bad_rows="skip")
    folder_of(output).mkdir()
    (folder_of(output) / "part-000000.parquet").write_bytes(b"x")
    assert scored(table, source, bad_rows="skip").num_resumed_rows == NUM_ROWS
    assert not folder_of(output).exists()
    # The list of what was left out is part of the answer.
    side = Path(first.bad_rows_file)
    listed = side.read_bytes()
    side.unlink()
    assert scored(table, source, bad_rows="skip").num_resumed_rows == 0
    assert side.read_bytes() == listed


def test_an_output_whose_bytes_are_damaged_is_not_taken_for_the_answers(table, source, scored, output):
    scored(table, source, bad_rows="skip")
    content = bytearray(output.read_bytes())
    content[len(content) // 2] ^= 1
    output.write_bytes(content)
    with pytest.raises(ConfigError, match="holds something else"):
        scored(table, source, bad_rows="skip")
