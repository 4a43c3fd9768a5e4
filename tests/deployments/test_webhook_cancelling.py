"""Runs on a real Prefect server: one for each delivery, and of the older ones only the queued ones make way."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Pending, Running
from receiving import commit
from servers import free_port, served

from deployments.webhook.journal import Delivery
from deployments.webhook.runs import start_run
from deployments.webhook_config import Repository

REPOSITORY = Repository(name="team/models", provider="github", clone_url="https://git.example/models.git")


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncPrefectClient]:
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
        "PREFECT_SERVER_API_PORT": str(port),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = (
        f"python -m deployments.prefect_server server start --host 127.0.0.1 --port {port} --no-services"
    )
    with (
        served(command, f"{url}/api/health", folder / "server.log", environment),
        temporary_settings({PREFECT_API_URL: f"{url}/api"}),
        get_client(sync_client=True) as client,
    ):
        flow_id = client.create_flow(flow(lambda: None, name="retrain"))
        schema = {"type": "object", "properties": {"config": {"type": "string"}}}
        client.create_deployment(flow_id=flow_id, name="retrain-on-push", parameter_openapi_schema=schema)
        yield client


def delivery(number: int) -> Delivery:
    return Delivery(
        id=str(uuid.uuid4()),
        repository=REPOSITORY.name,
        branch="main",
        commit=commit(number),
        received_at=0,
    )


def started(prefect: SyncPrefectClient, number: int) -> tuple[str, FlowRun]:
    """Start a delivery's run; return its key and the run."""
    one = delivery(number)
    made = start_run(one, REPOSITORY, older_keys=())
    return one.idempotency_key(REPOSITORY.deployment), prefect.read_flow_run(uuid.UUID(made.run_id))


def test_a_delivery_that_is_started_twice_has_one_run(prefect: SyncPrefectClient) -> None:
    one = delivery(9)
    first, second = (start_run(one, REPOSITORY, older_keys=()) for _ in range(2))
    assert first == second
    key = FlowRunFilterIdempotencyKey(any_=[one.idempotency_key(REPOSITORY.deployment)])
    runs = prefect.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=key))
    assert [str(run.id) for run in runs] == [first.run_id]
    other = start_run(delivery(9), REPOSITORY, older_keys=())
    assert other.run_id != first.run_id, "the same commit in another delivery is another run"


def test_a_run_whose_process_is_on_its_way_never_begins_and_one_that_began_goes_on(
    prefect: SyncPrefectClient,
) -> None:
    (queued, first), (pending, second), (running, third) = (started(prefect, n) for n in (1, 2, 3))
    prefect.set_flow_run_state(second.id, Pending())
    prefect.set_flow_run_state(third.id, Running())
    made = start_run(delivery(4), REPOSITORY, older_keys=(queued, pending, running))
    assert set(made.cancelled) == {queued, pending}
    # The process of the second run comes up only now.
    prefect.set_flow_run_state(second.id, Running())
    prefect.set_flow_run_state(second.id, Completed())
    runs = [prefect.read_flow_run(run.id) for run in (first, second, third)]
    assert [run.state.type.value for run in runs if run.state] == ["CANCELLED", "CANCELLING", "RUNNING"]
    for run in runs[:2]:
        assert run.state is not None
        assert commit(4)[:12] in str(run.state.message)


def test_a_run_that_was_cancelled_before_is_told_as_such_and_a_deleted_one_stops_nothing(
    prefect: SyncPrefectClient,
) -> None:
    (cancelled, first), (deleted, second) = (started(prefect, number) for number in (5, 6))
    start_run(delivery(7), REPOSITORY, older_keys=(cancelled,))
    prefect.delete_flow_run(second.id)
    made = start_run(delivery(8), REPOSITORY, older_keys=(cancelled, deleted))
    assert made.cancelled == (cancelled,)
    state = prefect.read_flow_run(first.id).state
    assert commit(7)[:12] in str(state.message if state else "")
