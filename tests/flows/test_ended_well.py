"""Maintenance of a run that ended while MLflow was away: how it ended waits in its outbox, and it is not told as a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock
from mlflow import MlflowClient

from flows.home import Home
from flows.maintain import maintain
from tasks.alias_lock import Claimant
from tasks.mlflow_database import make_database
from tasks.outbox_entries import CloseRun, Done, Opened, OpenRun
from tasks.outbox_experiment import OWNER
from tasks.outbox_file import OutboxFile

DEAD = Claimant.this_process().model_copy(update={"started": "1"}).to_json()


@pytest.mark.parametrize(
    ("status", "closed"), [("FINISHED", ()), ("FAILED", ()), ("KILLED", ("digits/ended",))]
)
def test_a_run_whose_end_waits_in_an_outbox_that_another_sends_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, closed: tuple[str, ...]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home(root=str(tmp_path))
    make_database(home.tracking_uri)
    client = MlflowClient(home.tracking_uri)
    experiment = client.create_experiment("digits")
    run, died = (
        client.create_run(experiment, run_name=name, tags={OWNER: DEAD}).info.run_id
        for name in ("ended", "died")
    )
    path = tmp_path / "outbox" / "ended.jsonl"
    outbox = OutboxFile(path)
    outbox.append(
        Opened(tracking_uri=home.tracking_uri, experiment="digits", run_name="ended"),
        OpenRun(id="local-run", experiment="digits", name="ended", tags={}, start_ms=1),
        Done(id="local-run", run_id=run, experiment_id=experiment),
        CloseRun(id="local-end", run="local-run", status=status, end_ms=2),  # type: ignore[arg-type]
    )
    outbox.close()
    # Somebody else of the home is sending it.
    with FileLock(path.with_suffix(".lock")):
        report = maintain(home, remove=False)
    assert set(report.closed) == {"digits/died", *closed}
    assert client.get_run(run).info.status == ("KILLED" if closed else "RUNNING")
    assert client.get_run(died).info.status == "KILLED"
    maintain(home, remove=False)
    assert client.get_run(run).info.status == status
