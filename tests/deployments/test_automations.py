"""The automations on a real Prefect server: what fires them, and above all what does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.settings import PREFECT_API_URL, PREFECT_RESULTS_DEFAULT_SERIALIZER, temporary_settings
from prefect.states import Pending, Running, Submitting
from run_results import make_run_result
from servers import free_port, served

from deployments.automations import apply_automations
from deployments.notify import BLOCK
from deployments.prefect_server import give_grace
from flows.maintenance import maintenance
from flows.notices import tell_crashed, tell_failed, tell_promoted, tell_refused
from pt_core.errors import ConfigError, StepFailed
from tasks.events import emit
from tasks.promotion import Promotion

TOKEN = "a-token-that-nobody-may-see"
SILENCE_S = 10
"""The least that Prefect allows."""


class Receiver(HTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[dict[str, Any]] = []

    def wait(self, num: int, *, seconds: float = 15) -> list[dict[str, Any]]:
        end = time.monotonic() + seconds
        while len(self.got) < num and time.monotonic() < end:
            time.sleep(0.1)
        return self.got


class Handler(BaseHTTPRequestHandler):
    """Takes JSON."""

    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if TOKEN in self.path and self.headers["content-type"] == "application/json":
            self.server.got.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prefect") / "server.log"


@pytest.fixture(scope="module")
def prefect(log: Path) -> Iterator[SyncPrefectClient]:
    """A client of a server of this file's own: the automations here act on whatever runs there."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "PREFECT_HOME": str(log.parent / "home"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{log.parent}/prefect.db",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_LOGGING_LEVEL": "INFO",
    }
    command = f"python -m deployments.prefect_server server start --host 127.0.0.1 --port {port}"
    root = str(Path(__file__).parents[2])
    with (
        served(command, f"{url}/api/health", log, {**environment, "PYTHONPATH": root}),
        temporary_settings({PREFECT_API_URL: f"{url}/api"}),
        get_client(sync_client=True) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def refused(prefect: SyncPrefectClient) -> str:
    """What is said where nothing is deployed yet."""
    with pytest.raises(ConfigError) as error:
        apply_automations()
    return str(error.value)


@pytest.fixture(scope="module")
def deployed(prefect: SyncPrefectClient, refused: str) -> dict[str, UUID]:
    """Deployments by flow, without a worker: what is started stays scheduled."""
    prefect.create_work_pool(WorkPoolCreate(name="local", type="process"))
    schema = {"type": "object", "properties": {"remove": {"type": "boolean"}}}
    found = {}
    for name in ("retrain", "maintenance"):
        found[name] = prefect.create_deployment(
            flow_id=prefect.create_flow(flow(lambda: None, name=name)),
            name=name,
            tags=["pt-pipeline"],
            work_pool_name="local",
            concurrency_limit=1,
            parameter_openapi_schema=schema,
        )
    return found


@pytest.fixture(scope="module")
def applied(
    prefect: SyncPrefectClient,
    deployed: dict[str, UUID],
    receiver: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, ...]:
    """The automations, with the shortest silence that Prefect allows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PT_PIPELINE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("PT_PIPELINE_NOTIFY_URL", f"http://127.0.0.1:{receiver.server_port}/{TOKEN}")
        return apply_automations(silence_s=SILENCE_S, start_s=SILENCE_S)


def start(prefect: SyncPrefectClient, deployment: UUID, *, is_running: bool = True) -> Any:
    """Start a run as a worker does, which says twice that it has the run before it starts a process."""
    run = prefect.create_flow_run_from_deployment(deployment)
    prefect.set_flow_run_state(run.id, Pending())
    prefect.set_flow_run_state(run.id, Submitting())
    if is_running:
        prefect.set_flow_run_state(run.id, Running())
    return run


def post(
    prefect: SyncPrefectClient, event: str, resource: str, *, tags: tuple[str, ...] = ("pt-pipeline",)
) -> None:
    document = {
        "id": str(uuid.uuid4()),
        "event": event,
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": resource},
        "related": [
            {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in tags
        ],
        "payload": {"body": "no body of ours"},
    }
    httpx.post(f"{prefect.api_url}events", json=[document]).raise_for_status()


def beat(prefect: SyncPrefectClient, run: Any, **options: Any) -> None:
    post(prefect, "prefect.flow-run.heartbeat", f"prefect.flow-run.{run.id}", **options)


def state_of(prefect: SyncPrefectClient, run: Any) -> str:
    return str(prefect.read_flow_run(run.id).state.name)


def wait_for(what: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.2)
    return what()


def slots(prefect: SyncPrefectClient, deployment: UUID) -> int:
    limit = prefect.read_global_concurrency_limit_by_name(f"deployment:{deployment}")
    return int(limit.active_slots)


def maintenance_runs(prefect: SyncPrefectClient, deployed: dict[str, UUID]) -> list[Any]:
    chosen = DeploymentFilter(id=DeploymentFilterId(any_=[deployed["maintenance"]]))
    return prefect.read_flow_runs(deployment_filter=chosen)


def test_a_silent_run_crashes_frees_its_slot_starts_the_maintenance_and_is_told_of(
    prefect: SyncPrefectClient,
    deployed: dict[str, UUID],
    applied: tuple[str, ...],
    receiver: Receiver,
    log: Path,
) -> None:
    assert len(applied) == 4
    silent = start(prefect, deployed["retrain"])
    # Neither of these may be taken for it: one goes on, one ended in a state of its own name, one is nobody's of ours.
    fine, ended, foreign = (
        prefect.create_flow_run(flow(lambda: None, name=name)) for name in ("a", "b", "c")
    )
    for run in (fine, ended, foreign):
        prefect.set_flow_run_state(run.id, Running())
    for run in (silent, fine, ended):
        beat(prefect, run)
    beat(prefect, foreign, tags=("others",))
    never_started = start(prefect, deployed["maintenance"], is_running=False)
    assert slots(prefect, deployed["retrain"]) == 1
    # As the server tells of the end of a run; a run without a deployment has no tag of ours on that event.
    post(prefect, "prefect.flow-run.Nothing to do", f"prefect.flow-run.{ended.id}")
    started = time.monotonic()
    beats = iter(range(3, 60, 3))
    following = next(beats)
    while state_of(prefect, silent) != "Crashed" and time.monotonic() - started < 40:
        if time.monotonic() - started > following:
            beat(prefect, fine)
            following = next(beats)
        time.sleep(0.2)
    took = time.monotonic() - started
    assert SILENCE_S - 1 < took < SILENCE_S + 15
    assert wait_for(lambda: slots(prefect, deployed["retrain"]) == 0, 10)
    assert wait_for(lambda: state_of(prefect, never_started) == "Crashed", 15)
    assert [state_of(prefect, run) for run in (fine, ended, foreign)] == ["Running"] * 3
    # For the crash of retrain, and not for that of the maintenance itself, or there would be one for ever.
    assert wait_for(lambda: len(maintenance_runs(prefect, deployed)) == 2, 10)
    # One too many comes two seconds later where the machine is busy.
    assert not wait_for(lambda: len(maintenance_runs(prefect, deployed)) > 2, 6)
    made = [run for run in maintenance_runs(prefect, deployed) if run.id != never_started.id]
    assert [run.parameters for run in made] == [{"remove": False}]
    told = receiver.wait(2)
    assert sorted(one["subject"] for one in told) == sorted([silent.name, never_started.name])
    (said,) = [one["text"] for one in told if one["subject"] == silent.name]
    assert (
        said
        == f"The run {silent.name} of retrain crashed: no heartbeat for 10 s: its process and its worker are gone"
    )
    assert TOKEN not in log.read_text()


def test_events_of_ours_are_posted_and_unrelated_ones_are_not(
    prefect: SyncPrefectClient, applied: tuple[str, ...], receiver: Receiver
) -> None:
    receiver.got.clear()
    num_before = len(prefect.read_flow_runs())
    for event, resource in (
        ("pt-pipeline.maintenance.finished", "pt-pipeline.run.x"),
        ("pt-pipeline.gate.refused", "somebody-elses.run.x"),
        ("prefect.flow-run.Completed", "prefect.flow-run.x"),
        ("github.push", "github.repository.x"),
    ):
        post(prefect, event, resource)
    said = 'digits: "refused"\n<b>3 of 4</b>, see https://me:secret@mlflow.example/x'
    assert emit("pt-pipeline.gate.refused", resource_id="pt-pipeline.run.r1", resource_name="r1", body=said)
    (told,) = receiver.wait(1)
    assert told["event"] == "pt-pipeline.gate.refused"
    assert (told["subject"], told["text"]) == ("r1", said.replace("me:secret@", ""))
    time.sleep(1)
    assert len(receiver.got) == 1
    assert len(prefect.read_flow_runs()) == num_before


def test_a_refused_gate_a_promotion_a_failure_and_a_crash_are_each_posted_with_their_text(
    applied: tuple[str, ...], receiver: Receiver, tmp_path: Path
) -> None:
    receiver.got.clear()
    tell_refused(make_run_result(tmp_path).model_copy(update={"run_name": "r2", "winner": None}))
    tell_promoted(
        Promotion(id="p", kind="promotion", model="digits", expected=None, version="1", state="champion")
    )
    tell_failed("digits", "r3", StepFailed("opset 9 is below 13"))
    tell_crashed("digits", "r4", why="its process is gone")
    # Of a deployed run's crash people hear from Prefect.
    tell_crashed("digits", "r5", why="its process is gone", is_told=True)
    told = {one["event"]: (one["subject"], one["text"].partition(".")[0]) for one in receiver.wait(4)}
    time.sleep(1)
    assert len(receiver.got) == 4
    assert told == {
        "pt-pipeline.gate.refused": ("r2", "digits: the gate refused the run r2"),
        "pt-pipeline.promotion.finished": (
            "digits",
            "digits has a new champion: models:/digits/1 (models:/digits/1)",
        ),
        "pt-pipeline.run.failed": ("r3", "digits: the run r3 failed"),
        "pt-pipeline.run.crashed": ("r4", "digits: the run r4 crashed: its process is gone"),
    }


def test_applying_again_changes_nothing_mends_what_was_changed_and_leaves_paused_what_was_paused(
    prefect: SyncPrefectClient,
    applied: tuple[str, ...],
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PT_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("PT_PIPELINE_NOTIFY_URL", f"http://127.0.0.1:{receiver.server_port}/{TOKEN}")
    before = {one.name: one for one in prefect.read_automations()}
    paused = before["pt-pipeline: crash runs that never start"]
    prefect.pause_automation(paused.id)
    names = apply_automations()
    after = {one.name: one for one in prefect.read_automations()}
    assert set(after) == set(before) == set(applied)
    assert names == applied
    assert {name: one.id for name, one in after.items()} == {name: one.id for name, one in before.items()}
    assert not after[paused.name].enabled
    silent = after["pt-pipeline: crash silent runs"]
    assert silent.trigger.within.total_seconds() == 70 < 90 - 5 - 5
    assert silent.trigger.match_related[0].root["prefect.resource.id"] == "prefect.tag.pt-pipeline"


def test_an_address_that_was_taken_away_is_kept_no_longer(
    prefect: SyncPrefectClient,
    applied: tuple[str, ...],
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PT_PIPELINE_HOME", str(tmp_path))
    assert len(apply_automations()) == len(prefect.read_automations()) == 3
    blocks = f"{prefect.api_url}block_documents/filter"
    assert BLOCK not in [one["name"] for one in httpx.post(blocks, json={}).json()]
    # There is nothing to take away the second time.
    assert len(apply_automations()) == 3
    monkeypatch.setenv("PT_PIPELINE_NOTIFY_URL", f"http://127.0.0.1:{receiver.server_port}/{TOKEN}")
    assert apply_automations() == applied
    assert BLOCK in [one["name"] for one in httpx.post(blocks, json={}).json()]


def test_an_address_that_is_none_is_refused_without_being_repeated(
    prefect: SyncPrefectClient, applied: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PT_PIPELINE_HOME", str(tmp_path))
    for wrong in (f"ftp://{TOKEN}", TOKEN, f"https:///{TOKEN}", f"http://h/{TOKEN} x", f"http://h:x/{TOKEN}"):
        monkeypatch.setenv("PT_PIPELINE_NOTIFY_URL", wrong)
        with pytest.raises(ConfigError) as refused:
            apply_automations()
        assert "PT_PIPELINE_NOTIFY_URL: expected one address" in str(refused.value)
        assert TOKEN not in str(refused.value)
    monkeypatch.delenv("PT_PIPELINE_NOTIFY_URL")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "notify").write_text("nonsense\n")
    with pytest.raises(ConfigError, match="secrets/notify: expected one address"):
        apply_automations()


def test_the_maintenance_runs_as_a_flow_and_leaves_its_report_in_prefect(
    prefect: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PT_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", str(prefect.api_url))
    (tmp_path / "store" / ".staging-999999999-left").mkdir(parents=True)
    with temporary_settings({PREFECT_RESULTS_DEFAULT_SERIALIZER: "json"}):
        told = maintenance(keep_last=3)
    assert (told.num_left_overs, told.removed, told.problems) == (1, (), ())
    (artifact,) = httpx.post(
        f"{prefect.api_url}artifacts/latest/filter", json={"artifacts": {"key": {"any_": ["maintenance"]}}}
    ).json()
    assert artifact["description"] == "0 runs and 0 bundles removed (0.0 MB); 1 left-overs swept"
    assert artifact["data"].startswith("# 0 runs and 0 bundles removed")


def test_before_the_server_comes_back_every_wait_for_a_heartbeat_begins_anew(
    prefect: SyncPrefectClient, applied: tuple[str, ...], log: Path
) -> None:
    run = prefect.create_flow_run(flow(lambda: None, name="lives"))
    beat(prefect, run)
    database = log.parent / "prefect.db"

    def end() -> datetime | None:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            asked = 'select "end" from automation_bucket where bucketing_key like ?'
            found = connection.execute(asked, (f"%{run.id}%",)).fetchone()
        return datetime.fromisoformat(found[0]).replace(tzinfo=UTC) if found else None

    assert wait_for(lambda: end() is not None, 5)
    num_prolonged = asyncio.run(give_grace(f"sqlite+aiosqlite:///{database}", seconds=500))
    found = end()
    assert num_prolonged >= 1
    assert found is not None
    assert 490 < (found - datetime.now(UTC)).total_seconds() < 501
    # What may last longer already is not cut short, and a database that is not there yet is none to make.
    assert asyncio.run(give_grace(f"sqlite+aiosqlite:///{database}", seconds=1)) == 0
    assert asyncio.run(give_grace(f"sqlite+aiosqlite:///{log.parent}/none.db")) == 0
    assert not (log.parent / "none.db").exists()


def test_every_automation_names_what_it_waits_for(
    prefect: SyncPrefectClient, applied: tuple[str, ...]
) -> None:
    """A trigger that expects nothing fires on everything."""
    found = prefect.read_automations()
    assert len(found) == len(applied) > 0
    for one in found:
        assert one.trigger.expect, one.name
        assert one.trigger.match.root, one.name
        assert len(one.actions) == 1


def test_the_deployments_come_first(refused: str) -> None:
    assert refused.startswith("maintenance/maintenance: is not deployed; deploy first")
