"""An outbox keeps what was written down: through a kill, next to damage, and from two processes at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pt_core.errors import ConfigError, IntegrityError, StepFailed
from tasks import tracking
from tasks.outbox import FOLDER, PATIENCE_VARIABLE, folders_waiting, patience_s, replay_all
from tasks.outbox_entries import Done, LogBatch, LogFiles, LogModel, Opened, Point
from tasks.outbox_file import OutboxFile, encode, read
from tasks.registry import asked

NOWHERE = "http://127.0.0.1:9"
"""A port where nobody listens."""
OPENED = Opened(tracking_uri=NOWHERE, experiment="e", run_name="r")


def batch(number: int) -> LogBatch:
    point = Point(name="training/loss", value=0.1 + number, timestamp_ms=number, step=number)
    return LogBatch(id=f"local-{number}", run="local-run", points=(point,))


def write(path: Path, *lines: object) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b"".join(map(encode, lines))
    path.write_bytes(content)
    return content


def test_whatever_byte_a_kill_stops_at_the_whole_lines_are_read_and_appended_to(tmp_path):
    path = tmp_path / "r.jsonl"
    lines = [OPENED, batch(1), batch(2)]
    content = write(path, *lines)
    ends = [len(b"".join(map(encode, lines[:count]))) for count in range(4)]
    for cut in range(ends[1], len(content)):
        path.write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends) - 1
        assert read(path) == (lines[:whole], ends[whole])
    path.write_bytes(content[:-7])
    file = OutboxFile(path)
    file.append(batch(3), batch(4))
    file.close()
    assert read(path)[0] == [OPENED, batch(1), batch(3), batch(4)]


def test_a_flipped_byte_before_the_last_line_is_told_by_file_and_line_and_nothing_is_lost(tmp_path):
    path = tmp_path / FOLDER / "r.jsonl"
    content = write(path, OPENED, batch(1), batch(2), batch(3))
    # A digit of a number: the line is still JSON, and still an entry.
    second = content.index(b'"value":1.1') + len('"value":1.')
    damaged = content[:second] + bytes([content[second] ^ 1]) + content[second + 1 :]
    path.write_bytes(damaged)
    with pytest.raises(IntegrityError, match=r"r\.jsonl: line 2 of 4 is damaged"):
        read(path)
    (found,) = replay_all(tmp_path, NOWHERE)
    assert (found.num_sent, "line 2 of 4" in found.problem) == (0, True)
    assert path.read_bytes() == damaged
    with pytest.raises(IntegrityError, match="line 2 of 4"):
        folders_waiting(tmp_path)


def test_an_outbox_whose_process_lives_is_not_touched_and_a_dead_one_s_is(tmp_path):
    code = (
        "import pathlib, sys; from tasks import tracking;"
        "run = tracking.start_run(sys.argv[1], experiment='e', run_name='r', artifact_root='', tags={},"
        "  home=pathlib.Path(sys.argv[2])); print(run.outbox, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, NOWHERE, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as owner:
        path = Path(owner.stdout.readline().strip())
        before = path.read_bytes()
        assert replay_all(tmp_path, NOWHERE, patience_s=0.1) == ()
        assert path.read_bytes() == before
        owner.kill()
    (found,) = replay_all(tmp_path, NOWHERE, patience_s=0.1)
    assert (found.path, found.num_sent) == (str(path), 0)
    # The run that its process left open, and its end.
    assert found.num_left == 2
    assert found.problem


def test_what_waits_to_be_sent_says_so_until_it_was_taken(tmp_path):
    model = LogModel(id="local-m", run="local-run", name="n", params={}, tags={}, bundle="/store/artifacts/a")
    files = LogFiles(id="local-f", run="local-run", folder="/store/datasets/d", is_copy=False)
    write(tmp_path / FOLDER / "r.jsonl", OPENED, model, files, Done(id="local-f"))
    assert folders_waiting(tmp_path) == {"/store/artifacts/a"}


def test_a_disk_that_is_full_is_a_failure_that_leaves_the_file_as_it_was(tmp_path):
    resource = pytest.importorskip("resource")
    file = OutboxFile(tmp_path / "r.jsonl")
    file.append(OPENED, batch(1))
    size = file.path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal = pytest.importorskip("signal")
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, before[1]))
        with pytest.raises(StepFailed, match="cannot be written down"):
            file.append(batch(2), batch(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handled)
    file.append(batch(4))
    file.close()
    assert read(file.path)[0] == [OPENED, batch(1), batch(4)]


@pytest.mark.parametrize("said", ["soon", "-1", "nan", "inf"])
def test_a_patience_that_is_no_number_of_seconds_is_refused_before_the_run_begins(
    said, tmp_path, monkeypatch
):
    monkeypatch.setenv(PATIENCE_VARIABLE, said)
    with pytest.raises(ConfigError, match=PATIENCE_VARIABLE):
        patience_s()
    with pytest.raises(ConfigError, match=PATIENCE_VARIABLE):
        tracking.start_run(NOWHERE, experiment="e", run_name="r", artifact_root="", tags={}, home=tmp_path)
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.campaign
def test_a_database_that_another_process_holds_for_long_is_waited_for(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run = tracking.start_run(uri, experiment="e", run_name="r", artifact_root=str(tmp_path), tags={})
    holder = sqlite3.connect(tmp_path / "mlflow.db", check_same_thread=False, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    threading.Timer(21.5, holder.close).start()
    begun = time.monotonic()
    tracking.log_figures(run, {3: {"loss": 1.0}})
    # MLflow gives up after 20 s.
    assert time.monotonic() - begun > 20
    tracking.finish_run(run, "FINISHED")
    (point,) = MlflowClient(uri).get_metric_history(run.run_id, "loss")
    assert (point.step, point.value) == (3, 1.0)


def test_who_reads_waits_with_patience_and_then_says_which_server(monkeypatch, hear):
    monkeypatch.setattr("tasks.answering.PATIENCE_S", 1.0)
    told = hear("tasks.answering")
    begun = time.monotonic()
    with (
        pytest.raises(StepFailed, match=r"MLflow at http://127\.0\.0\.1:9: did not answer for 1 s"),
        asked(NOWHERE),
    ):
        pass
    assert 1.0 <= time.monotonic() - begun < 5
    assert [sentence.count("waiting up to 1 s for it") for sentence in told] == [1]
