"""Maintenance with a real Prefect server: whose flow run is told to have crashed, and whose is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Cancelled, Crashed, Pending, Running

from flows.home import Home
from flows.maintain import maintain
from tasks import tracking

SINCE = "2020-01-01T00:00:00Z"
ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def home(prefect: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("PREFECT_API_URL", str(prefect.api_url))
    return Home(root=str(tmp_path))


def start(prefect: SyncPrefectClient, *, tags: tuple[str, ...] = ()) -> Any:
    run = prefect.create_flow_run(flow(lambda: None, name="retrain"), tags=tags)
    prefect.set_flow_run_state(run.id, Running())
    return run


def die(home: Home, run: Any, *, name: str = "died") -> str:
    """Open the run of a flow run in MLflow, in a process that is killed then; return its id."""
    code = (
        "import os, sys, signal; from tasks import tracking\n"
        "run = tracking.start_run(sys.argv[1], experiment='digits', run_name=sys.argv[2], artifact_root=sys.argv[3],\n"
        "                         tags={'prefect_flow_run_id': sys.argv[4]})\n"
        "print(run.run_id, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", code, home.tracking_uri, name, home.mlflow_artifacts, str(run.id)]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False
    ).stdout.strip()


def live(home: Home, run: Any) -> Any:
    return tracking.start_run(
        home.tracking_uri,
        experiment="digits",
        run_name="lives",
        artifact_root=home.mlflow_artifacts,
        tags={"prefect_flow_run_id": str(run.id)},
    )


def state_of(prefect: SyncPrefectClient, run: Any) -> str:
    return str(prefect.read_flow_run(run.id).state.type.value)


def test_a_flow_run_whose_process_died_is_crashed_and_one_that_was_started_again_is_not(
    prefect: SyncPrefectClient, home: Home
) -> None:
    dead, again, waits, ended = (start(prefect) for _ in range(4))
    ids = [die(home, run, name=f"died-{number}") for number, run in enumerate((dead, again, waits, ended))]
    prefect.set_flow_run_state(again.id, Running(), force=True)
    prefect.set_flow_run_state(waits.id, Pending(), force=True)
    prefect.set_flow_run_state(ended.id, Cancelled(), force=True)
    # The next run has closed the others in MLflow already, as it does where there is no maintenance.
    assert maintain(home, remove=False).closed == ("digits/died-3",)
    states = [state_of(prefect, run) for run in (dead, again, waits, ended)]
    assert states == ["CRASHED", "RUNNING", "PENDING", "CANCELLED"]
    client = MlflowClient(home.tracking_uri)
    assert {client.get_run(one).info.status for one in ids} == {"KILLED"}


def test_a_process_that_is_alive_here_counts_for_more_than_what_prefect_says(
    prefect: SyncPrefectClient, home: Home
) -> None:
    run = start(prefect)
    mine = live(home, run)
    prefect.set_flow_run_state(run.id, Crashed(), force=True)
    assert maintain(home, remove=False).closed == ()
    assert MlflowClient(home.tracking_uri).get_run(mine.run_id).info.status == "RUNNING"
    tracking.finish_run(mine, "FINISHED")


def test_the_maintenance_tells_of_every_crash_and_posts_those_that_prefect_does_not_tell_of(
    prefect: SyncPrefectClient, home: Home
) -> None:
    by_hand, deployed = start(prefect), start(prefect, tags=("pt-pipeline",))
    die(home, by_hand, name="by-hand")
    die(home, deployed, name="deployed")
    for _ in range(2):
        maintain(home, remove=False)
    assert [state_of(prefect, run) for run in (by_hand, deployed)] == ["CRASHED", "CRASHED"]
    wanted = {"event": {"name": ["pt-pipeline.run.crashed"]}, "occurred": {"since": SINCE}}

    def told() -> list[tuple[str, str, bool]]:
        found = httpx.post(f"{prefect.api_url}events/filter", json={"filter": wanted}).json()["events"]
        return [
            (
                one["resource"]["prefect.resource.name"],
                one["payload"]["body"],
                "prefect.tag.pt-pipeline" in str(one["related"]),
            )
            for one in found
            if "died" not in str(one)
        ]

    end = time.monotonic() + 60
    while len(told()) < 2 and time.monotonic() < end:
        time.sleep(0.2)
    said = "digits: the run {} crashed: its process is gone. Start it again."
    assert sorted(told()) == [
        ("by-hand", said.format("by-hand"), True),
        ("deployed", said.format("deployed"), False),
    ]
