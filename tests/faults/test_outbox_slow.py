"""A server that is slow, hangs in its database or comes late costs a run two seconds a call, and holds everything once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow_server import MlflowServer
from run_results import make_run_result
from slow_proxy import SlowProxy

from flows.fetch import fetch_run
from flows.home import Home
from pt_core.decision.result import RunResult
from pt_core.keys import HOME_VARIABLE, keys_here, keys_of, trust_key
from pt_core.signing import sign_published
from tasks import tracking
from tasks.dashboard import TrackedRun, links
from tasks.outbox import FOLDER, PATIENCE_VARIABLE, replay_all
from tasks.outbox_entries import CloseRun, Done, LogFiles, Opened, OpenRun, new_id
from tasks.outbox_file import encode, read
from tasks.share import log_bundles
from tasks.shared import RESULT


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def proxy(server: MlflowServer) -> Iterator[SlowProxy]:
    proxy = SlowProxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    found = make_run_result(tmp_path_factory.mktemp("bundles"))
    return found.model_copy(update={"variants": (*found.variants[3:5],)})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def begin(uri: str, home: Path, name: str) -> TrackedRun:
    return tracking.start_run(uri, experiment=name, run_name=name, artifact_root="unused", tags={}, home=home)


def runs_of(server: MlflowServer, experiment: str) -> list[tuple]:
    return server.rows(
        "SELECT r.name, r.status FROM runs r JOIN experiments e USING (experiment_id) "
        "WHERE e.name = ? AND r.lifecycle_stage = 'active' ORDER BY r.name",
        experiment,
    )


def within(seconds: float, call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive()


def wait_until(ready: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ready()


def test_no_patience_at_all_ends_a_run_on_a_server_that_answers(server, home, monkeypatch):
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    run = begin(server.uri, home, "impatient")
    for step in range(20):
        tracking.log_figures(run, {step: {"loss": 1.0}})
    within(20, lambda: tracking.finish_run(run, "FINISHED"))
    assert runs_of(server, "impatient") == [("impatient", "FINISHED")]


def test_one_call_is_held_up_for_two_seconds_however_much_waits(server, proxy, result, home):
    run = begin(proxy.uri, home, "backlog")
    proxy.slow["runs/log-batch"] = 0.5
    for step in range(10):
        tracking.log_figures(run, {step: {"loss": 1.0}})
    begun = time.monotonic()
    tracking.log_bundle(run, result.checkpoint.directory, "checkpoint")
    assert time.monotonic() - begun < 3
    proxy.slow.clear()
    tracking.finish_run(run, "FINISHED")
    assert runs_of(server, "backlog") == [("backlog", "FINISHED")]


def test_nothing_that_was_left_is_created_twice_though_none_of_it_is_known_to_be_there(
    server, result, home, tmp_path
):
    run = begin(server.uri, home, "unknown")
    for variant in result.variants:
        tracking.log_variant(run, variant, result.dataset, pictures={})
    lines, _ = read(Path(run.outbox))
    other = tmp_path / "other" / FOLDER / "left.jsonl"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"".join(encode(line) for line in lines if not isinstance(line, Done)))
    tracking.finish_run(run, "FINISHED")
    (found,) = replay_all(tmp_path / "other", server.uri, patience_s=20)
    assert found.problem is None
    assert len(runs_of(server, "unknown")) == 3
    assert server.rows(
        "SELECT COUNT(*) FROM logged_models WHERE source_run_id IN (SELECT run_uuid FROM "
        "runs JOIN experiments e USING (experiment_id) WHERE e.name = 'unknown')"
    ) == [(1,)]


def test_what_a_server_creates_late_and_more_than_once_is_gone_when_the_run_ends(
    server, proxy, home, monkeypatch
):
    begin_quickly(server, home)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    # Its database hangs, its health page answers: each is done long after nobody waits for it any more.
    proxy.late["runs/create"] = [8.0, 2.5]
    run = begin(proxy.uri, home, "twice")
    wait_until(lambda: bool(tracking.known(run).run_id))
    wait_until(lambda: len(runs_of(server, "twice")) > 1 and not proxy.at_work)
    tracking.finish_run(run, "FINISHED")
    assert runs_of(server, "twice") == [("twice", "FINISHED")]


def begin_quickly(server: MlflowServer, home: Path) -> None:
    """Let the server do everything once, so that only what the test holds up is slow."""
    tracking.finish_run(begin(server.uri, home, "first"), "FINISHED")


def test_an_upload_that_takes_longer_than_a_request_may_arrives_all_the_same(
    server, proxy, home, monkeypatch
):
    run = begin(proxy.uri, home, "upload")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv(PATIENCE_VARIABLE, "30")
    folder = home / "page"
    folder.mkdir()
    (folder / "page.html").write_text("<p>the page</p>")
    proxy.slow["mlflow-artifacts"] = 3.0
    send_folder(run, folder)
    within(60, lambda: tracking.finish_run(run, "FINISHED"))
    assert list((server.home / "artifacts").glob(f"*/{tracking_id(server, 'upload')}/artifacts/page.html"))
    assert runs_of(server, "upload") == [("upload", "FINISHED")]


def tracking_id(server: MlflowServer, name: str) -> str:
    ((run_id,),) = server.rows("SELECT run_uuid FROM runs WHERE name = ?", name)
    return run_id


def send_folder(run: TrackedRun, folder: Path) -> None:
    tracking._deliver(run, LogFiles(id=new_id(), run=run.local_id, folder=str(folder), is_copy=False))


def test_what_was_left_behind_is_sent_however_late_the_next_run_is_open(server, proxy, home):
    left = home / FOLDER / "left.jsonl"
    left.parent.mkdir(parents=True)
    opening = OpenRun(id="local-left", experiment="late", name="left", tags={}, start_ms=1)
    closing = CloseRun(id="local-closed", run="local-left", status="FINISHED", end_ms=2)
    opened = Opened(tracking_uri=proxy.uri, experiment="late", run_name="left")
    left.write_bytes(b"".join(map(encode, (opened, opening, closing))))
    proxy.late["runs/create"] = [4.0]
    run = begin(proxy.uri, home, "late")
    assert run.run_id == ""
    wait_until(lambda: not left.exists())
    tracking.finish_run(run, "FINISHED")
    assert runs_of(server, "late") == [("late", "FINISHED"), ("left", "FINISHED")]


def test_credentials_that_expire_are_named_where_the_run_ends(server, proxy, home, monkeypatch, hear):
    monkeypatch.setenv(PATIENCE_VARIABLE, "0.5")
    said = hear("tasks.tracking")
    run = begin(proxy.uri, home, "expired")
    proxy.status = 401
    tracking.finish_run(run, "FINISHED")
    assert "401" in said[0]
    assert "wait in" in said[0]


def test_a_run_that_began_and_ended_while_mlflow_was_away_can_be_fetched_elsewhere_after_the_replay(
    server, result, home, tmp_path, monkeypatch
):
    monkeypatch.setenv(PATIENCE_VARIABLE, "0.5")
    keys = keys_here()
    for signed in (result.checkpoint, *(one.artifact for one in result.variants if one.artifact)):
        sign_published(Path(signed.directory), keys)
    server.stop()
    run = begin(server.uri, home, "outage")
    tracking.log_checkpoint(run, result.checkpoint, result.dataset)
    for variant in result.variants:
        tracking.log_variant(run, variant, result.dataset, pictures={})
    sent = tracking.flush(run)
    update = {
        "run_name": "outage",
        "mlflow_run_id": None,
        "links": links(sent.run),
        "warnings": sent.warnings,
    }
    away, folder = result.model_copy(update=update), home / "runs" / "outage"
    folder.mkdir(parents=True)
    (folder / RESULT).write_text(away.model_dump_json())
    log_bundles(run, away, str(folder), keys)
    tracking.finish_run(run, "FINISHED")
    server.start()
    assert [found.problem for found in replay_all(home, server.uri, patience_s=20)] == [None]

    run_id = tracking_id(server, "outage")
    told = json.loads((folder / RESULT).read_text())
    assert (told["mlflow_run_id"], told["warnings"]) == (run_id, [])
    assert any(run_id in link["url"] for link in told["links"])

    elsewhere = Home(root=str(tmp_path / "elsewhere"))
    (key,) = Path(keys.trusted).glob("*.pub")
    trust_key(key, Path(keys_of(Path(elsewhere.root)).trusted))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert fetch_run(elsewhere, "outage").mlflow_run_id == run_id
