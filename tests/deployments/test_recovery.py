"""Kills on a real stack: nothing stays Running for ever, nothing is left alive, and what can go on does."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.settings import PREFECT_API_URL, temporary_settings
from stacks import RealStack, start_up, stop_up, wait_until_ready

from flows.stack_state import client_environment

pytestmark = pytest.mark.timeout(1200)

CRASHED_WITHIN_S = 90
FREE_WITHIN_S = 10
SMALL = "variants=[{name: torch, steps: []}, {name: onnx, steps: [onnx]}]"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    """A stack of this file's own, since it is killed piece by piece."""
    folder = tmp_path_factory.mktemp("stack")
    home = folder / "home"
    process = start_up(home, folder / "up.log")
    try:
        state = wait_until_ready(process, home, folder / "up.log")
        yield RealStack(
            home=home,
            environment={**os.environ, **client_environment(state, home)},
            prefect_url=state.prefect_url,
            mlflow_url=state.mlflow_url,
            webhook_url="",
            process=process,
            log=folder / "up.log",
        )
    finally:
        stop_up(process)


@pytest.fixture
def prefect(stack: RealStack) -> Iterator[SyncPrefectClient]:
    with (
        temporary_settings({PREFECT_API_URL: f"{stack.prefect_url}/api"}),
        get_client(sync_client=True) as client,
    ):
        yield client


def wait_for(what: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # While a server is away nothing can be said.
        with contextlib.suppress(Exception):
            if found := what():
                return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {what()}")


def begin(prefect: SyncPrefectClient, *overrides: str) -> Any:
    deployment = prefect.read_deployment_by_name("retrain/retrain")
    return prefect.create_flow_run_from_deployment(
        deployment.id, parameters={"overrides": list(overrides), "gate": "smoke", "force": True}
    )


def state_of(prefect: SyncPrefectClient, run: Any) -> str:
    return str(prefect.read_flow_run(run.id).state.type.value)


def processes_of(run: Any) -> list[psutil.Process]:
    """Return the processes that have a flow run's id in their environment: its own and its children."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("PREFECT__FLOW_RUN_ID") == str(run.id):
                found.append(process)
    return found


def training_of(run: Any) -> list[psutil.Process]:
    found = []
    for process in processes_of(run):
        with contextlib.suppress(psutil.Error):
            if any("training" in word for word in process.cmdline() if word.startswith("pt_core.")):
                found.append(process)
    return found


def open_run(stack: RealStack, run: Any) -> Any:
    client = MlflowClient(stack.mlflow_url)
    ids = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(ids, f"tags.prefect_flow_run_id = '{run.id}'")
    return found[0] if found else None


def slots(prefect: SyncPrefectClient) -> int:
    deployment = prefect.read_deployment_by_name("retrain/retrain")
    return int(prefect.read_global_concurrency_limit_by_name(f"deployment:{deployment.id}").active_slots)


def service(stack: RealStack, name: str) -> psutil.Process:
    return psutil.Process(next(one.process.pid for one in stack.state.services if one.name == name))


def begin_long_training(stack: RealStack, prefect: SyncPrefectClient) -> Any:
    run = begin(prefect, "train.epochs=10000")
    wait_for(lambda: training_of(run) and open_run(stack, run), 120)
    assert slots(prefect) == 1
    return run


def test_worker_and_run_killed_together(stack: RealStack, prefect: SyncPrefectClient) -> None:
    run = begin_long_training(stack, prefect)
    time.sleep(5)
    children = training_of(run)
    flow = [process for process in processes_of(run) if process not in children]
    for process in (service(stack, "worker"), *flow):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: not processes_of(run), 10)
    gone = time.monotonic() - killed
    wait_for(lambda: state_of(prefect, run) == "CRASHED", CRASHED_WITHIN_S + 30)
    crashed = time.monotonic() - killed
    wait_for(lambda: slots(prefect) == 0, FREE_WITHIN_S)
    free = time.monotonic() - killed - crashed
    wait_for(lambda: open_run(stack, run).info.status == "KILLED", 120)
    closed = time.monotonic() - killed - crashed
    print(
        f"children gone {gone:.1f} s, crashed {crashed:.1f} s, slot free {free:.1f} s, MLflow closed {closed:.1f} s"
    )
    assert crashed <= CRASHED_WITHIN_S
    maintenance = prefect.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["maintenance"])))
    # The others are those of its schedule, and wait.
    assert [one.parameters.get("remove", True) for one in maintenance].count(False) == 1


@pytest.mark.campaign
def test_run_killed_alone_is_crashed_by_its_worker_at_once(
    stack: RealStack, prefect: SyncPrefectClient
) -> None:
    run = begin_long_training(stack, prefect)
    children = training_of(run)
    for process in [one for one in processes_of(run) if one not in children]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: state_of(prefect, run) == "CRASHED", 15)
    crashed = time.monotonic() - killed
    wait_for(lambda: slots(prefect) == 0, FREE_WITHIN_S)
    wait_for(lambda: not training_of(run), FREE_WITHIN_S)
    wait_for(lambda: open_run(stack, run).info.status == "KILLED", 120)
    print(f"crashed {crashed:.1f} s, MLflow closed {time.monotonic() - killed:.1f} s")
    # Prefect looks for hooks in a process of its own, which takes its time.
    wait_for(lambda: not processes_of(run), 90)


@pytest.mark.campaign
def test_a_prefect_server_that_is_killed_and_comes_back_costs_no_run(
    stack: RealStack, prefect: SyncPrefectClient
) -> None:
    run = begin(prefect, "train.epochs=150", SMALL)
    wait_for(lambda: training_of(run), 120)
    service(stack, "prefect").send_signal(signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: prefect.api_healthcheck() is None, 60)
    away = time.monotonic() - killed
    wait_for(lambda: state_of(prefect, run) in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"), 600)
    print(f"away {away:.1f} s, then {state_of(prefect, run)} after {time.monotonic() - killed:.1f} s")
    assert state_of(prefect, run) == "COMPLETED"
    assert open_run(stack, run).info.status == "FINISHED"
    assert slots(prefect) == 0
