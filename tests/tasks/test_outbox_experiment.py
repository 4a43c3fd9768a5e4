"""The experiment that runs go to, where others make, restore and close what is in it at the same moment."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tasks.alias_lock import Claimant
from tasks.mlflow_database import make_database
from tasks.outbox_experiment import OWNER, close_dead, ensure_experiment


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    make_database(uri)
    return MlflowClient(uri)


class Meeting:
    """A client whose caller goes on once another has done something, right after it asked."""

    def __init__(self, client: MlflowClient, method: str, other: Any) -> None:
        self._client, self._method, self._other = client, method, other

    def __getattr__(self, name: str) -> Any:
        ask = getattr(self._client, name)
        if name != self._method:
            return ask

        def asked(*arguments: Any, **options: Any) -> Any:
            found = ask(*arguments, **options)
            self._other()
            return found

        return asked


def test_two_that_restore_an_experiment_at_once_both_use_it(client: MlflowClient) -> None:
    deleted = client.create_experiment("digits")
    client.delete_experiment(deleted)
    both, found = threading.Barrier(2), []

    def begin() -> None:
        meeting = Meeting(client, "get_experiment_by_name", both.wait)
        found.append(ensure_experiment(meeting, "digits", None))  # type: ignore[arg-type]

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [deleted, deleted]
    assert client.get_experiment(deleted).lifecycle_stage == "active"


def test_an_experiment_restored_meanwhile_is_used(client: MlflowClient) -> None:
    deleted = client.create_experiment("digits")
    client.delete_experiment(deleted)
    meeting = Meeting(client, "get_experiment_by_name", lambda: client.restore_experiment(deleted))
    assert ensure_experiment(meeting, "digits", None) == deleted  # type: ignore[arg-type]


def test_a_run_whose_outbox_is_sent_meanwhile_keeps_how_it_ended(client: MlflowClient) -> None:
    dead = Claimant.this_process().model_copy(update={"started": "1"}).to_json()
    experiment = client.create_experiment("digits")
    sent, died = (client.create_run(experiment, tags={OWNER: dead}).info.run_id for _ in range(2))
    meeting = Meeting(
        client, "search_runs", lambda: client.set_terminated(sent, status="FINISHED", end_time=1000)
    )
    close_dead(meeting, experiment)  # type: ignore[arg-type]
    assert client.get_run(sent).info.status == "FINISHED"
    assert client.get_run(sent).info.end_time == 1000
    assert client.get_run(died).info.status == "KILLED"
