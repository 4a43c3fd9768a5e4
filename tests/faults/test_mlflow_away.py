"""An MLflow server that is away costs no run, no metric and no more than two seconds; everything is there once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_server import LossyProxy, MlflowServer
from run_results import make_run_result

from pt_core.decision.result import RunResult
from pt_core.errors import StepFailed
from pt_core.isolation import Progress
from tasks import tracking
from tasks.dashboard import TrackedRun
from tasks.follow import followed
from tasks.outbox import FOLDER, PATIENCE_VARIABLE, replay_all

PICTURES = {"confusion_matrix.png": b"one", "roc.png": b"two"}
HELD_UP_S = 2.0
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    found = make_run_result(tmp_path_factory.mktemp("bundles"))
    # One that is built, one that failed: the shape of a run, in a quarter of the time.
    return found.model_copy(update={"variants": (*found.variants[3:5],)})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


class Stopwatch:
    """How long somebody was held up, in all."""

    seconds = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.seconds += time.monotonic() - begun


def begin(uri: str, home: Path, name: str) -> TrackedRun:
    return tracking.start_run(
        uri, experiment=name, run_name=name, artifact_root="unused", tags={"kind": "test"}, home=home
    )


def train(run: TrackedRun, result: RunResult) -> None:
    """Tell the first three epochs while they end, as a training does."""
    with followed(run, sample_every_s=60) as told:
        for epoch in result.checkpoint.history[:3]:
            figures = {"train_loss": epoch.train_loss}
            told(Progress(done=epoch.epoch, total=20, step=epoch.epoch, figures=figures))
    # MLflow tells points apart by the millisecond, and a training does not end in the one of its last epoch.
    time.sleep(0.01)


def log_rest(run: TrackedRun, result: RunResult, folder: Path) -> None:
    """Log what comes after a training."""
    page = folder / "report.html"
    page.write_text("<p>the page</p>")
    tracking.log_checkpoint(run, result.checkpoint, result.dataset)
    for variant in result.variants:
        tracking.log_variant(run, variant, result.dataset, pictures=PICTURES)
    tracking.log_bundle(run, result.checkpoint.directory, "checkpoint")
    tracking.log_result(run, result, [page])


def assert_there_once(server: MlflowServer, result: RunResult, name: str, status: str = "FINISHED") -> None:
    """Read the whole run from MLflow's own tables."""
    ((experiment,),) = server.rows("SELECT experiment_id FROM experiments WHERE name = ?", name)
    runs = server.rows("SELECT name, status, run_uuid FROM runs WHERE experiment_id = ?", experiment)
    built, failed = result.variants
    expected = [(name, status), (built.name, "FINISHED"), (failed.name, "FAILED")]
    assert sorted(run[:2] for run in runs) == sorted(expected)
    ids = {run[0]: run[2] for run in runs}
    assert_points_once(server, result, ids[name])
    parents = server.rows(
        "SELECT t.value FROM tags t JOIN runs r USING (run_uuid) WHERE t.key = 'mlflow.parentRunId' "
        "AND r.experiment_id = ?",
        experiment,
    )
    assert parents == [(ids[name],)] * 2
    models = server.rows(
        "SELECT name, status, source_run_id FROM logged_models WHERE experiment_id = ?", experiment
    )
    assert models == [(built.name, 2, ids[built.name])]
    outputs = server.rows(
        "SELECT COUNT(*) FROM inputs WHERE source_type = 'RUN_OUTPUT' AND source_id = ?", ids[built.name]
    )
    assert outputs == [(1,)]
    bound = server.rows(
        "SELECT metric_name, COUNT(*) FROM logged_model_metrics WHERE run_id = ? GROUP BY metric_name",
        ids[built.name],
    )
    assert {count for _, count in bound} == {1}
    assert {key for key, _ in bound} >= set(built.metrics)
    params = dict(server.rows("SELECT key, value FROM params WHERE run_uuid = ?", ids[name]))
    assert (params["train.epochs"], params["seed"]) == ("20", "0")
    root = server.home / "artifacts" / str(experiment)
    assert {path.name for path in (root / ids[name] / "artifacts").iterdir()} >= {"report.html", "checkpoint"}
    assert {path.name for path in (root / ids[built.name] / "artifacts").iterdir()} == set(PICTURES)
    (bundle,) = root.glob("models/*/artifacts/bundle")
    source = Path(built.artifact.directory)
    assert {p.relative_to(bundle): p.read_bytes() for p in bundle.rglob("*") if p.is_file()} == {
        p.relative_to(source): p.read_bytes() for p in source.rglob("*") if p.is_file()
    }


def assert_points_once(server: MlflowServer, result: RunResult, run_id: str) -> None:
    for key in ("train_loss", "validation_loss"):
        points = server.rows(
            "SELECT step, value FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY step",
            run_id,
            f"training/{key}",
        )
        history = [(epoch.epoch, getattr(epoch, key)) for epoch in result.checkpoint.history]
        # The first three epochs were told while the training went on, without a validation loss.
        assert points == (history if key == "train_loss" else history[3:])


def left(home: Path) -> list[str]:
    return sorted(path.name for path in (home / FOLDER).iterdir())


def test_a_server_that_is_away_from_the_first_second_gets_everything_when_it_comes(
    server, result, home, tmp_path, hear
):
    server.stop()
    said, watch = hear("tasks.outbox_run"), Stopwatch()
    with watch.running():
        run = begin(server.uri, home, "first")
        train(run, result)
        log_rest(run, result, tmp_path)
    assert run.run_id == ""
    assert watch.seconds < HELD_UP_S
    assert "the run goes on, and what is for MLflow waits in" in said[0]
    starting = threading.Thread(target=server.start)
    starting.start()
    sent = tracking.flush(run)
    assert sent.warnings == ()
    assert sent.run.run_id
    assert tracking.finish_run(run, "FINISHED").run_id == sent.run.run_id
    starting.join()
    assert_there_once(server, result, "first")
    assert said[1:] == [f"MLflow at {server.uri} answers again"]
    assert left(home) == []


def test_a_server_that_is_killed_in_the_middle_and_comes_back_has_everything_once(
    server, result, home, tmp_path
):
    server.ensure()
    watch = Stopwatch()
    run = begin(server.uri, home, "middle")
    assert run.run_id
    train(run, result)
    server.kill()
    with watch.running():
        log_rest(run, result, tmp_path)
    assert watch.seconds < HELD_UP_S
    server.start()
    tracking.finish_run(run, "FINISHED")
    assert_there_once(server, result, "middle")
    assert left(home) == []


def test_a_server_that_hangs_and_then_does_what_it_was_asked_before_creates_nothing_twice(
    server, result, home, tmp_path, monkeypatch
):
    server.ensure()
    # Shorter than the hang: the requests that nobody waits for any more are done when the server goes on.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    watch = Stopwatch()
    server.signal(signal.SIGSTOP)
    with watch.running():
        run = begin(server.uri, home, "hang")
        train(run, result)
        log_rest(run, result, tmp_path)
    assert watch.seconds < HELD_UP_S
    time.sleep(3)
    server.signal(signal.SIGCONT)
    tracking.finish_run(run, "FINISHED")
    assert_there_once(server, result, "hang")


def test_an_answer_that_is_lost_after_the_server_did_it_repeats_nothing(server, result, home, tmp_path):
    kinds = (
        "runs/create",
        "logged-models ",
        "runs/log-batch",
        "runs/outputs",
        "runs/log-inputs",
        "runs/update",
    )
    proxy = LossyProxy(server.port, lost=(*kinds, "runs/create", "runs/log-batch"))
    try:
        run = begin(proxy.uri, home, "lost")
        train(run, result)
        log_rest(run, result, tmp_path)
        tracking.finish_run(run, "FINISHED")
    finally:
        proxy.close()
    assert sorted(proxy.lost) == sorted([*kinds, "runs/create", "runs/log-batch"])
    assert_there_once(server, result, "lost")


def test_what_the_server_refuses_is_told_and_kept_and_the_others_go_on(server, home):
    server.ensure()
    run = begin(server.uri, home, "refused")
    tracking.log_figures(run, {0: {"no=name": 1.0}})
    tracking.log_figures(run, {1: {"loss": 0.5}})
    with pytest.raises(StepFailed, match="refused 1 entries") as caught:
        tracking.finish_run(run, "FINISHED")
    assert "no=name" in str(caught.value)
    points = server.rows("SELECT key, step, value FROM metrics WHERE run_uuid = ?", run.run_id)
    assert points == [("loss", 1, 0.5)]
    assert server.rows("SELECT status FROM runs WHERE run_uuid = ?", run.run_id) == [("FINISHED",)]
    (kept,) = left(home)
    assert kept.endswith(".refused")


KILLED = """
import os, pathlib, sys
from tasks import tracking
uri, home = sys.argv[1:]
run = tracking.start_run(
    uri, experiment="killed", run_name="killed", artifact_root="", tags={}, home=pathlib.Path(home)
)
for step in range(50):
    tracking.log_figures(run, {step: {"loss": 1.0 / (step + 1)}})
os.kill(os.getpid(), 9)
"""


def test_what_a_run_leaves_behind_is_sent_by_the_next_and_a_killed_one_is_closed(
    server, result, home, tmp_path, monkeypatch, hear
):
    monkeypatch.setenv(PATIENCE_VARIABLE, "0.5")
    said = hear("tasks.tracking")
    server.stop()
    subprocess.run(
        [sys.executable, "-c", KILLED, server.uri, str(home)], cwd=ROOT, check=False, env={**os.environ}
    )
    run = begin(server.uri, home, "left")
    train(run, result)
    log_rest(run, result, tmp_path)
    sent = tracking.flush(run)
    assert sent.run.run_id == ""
    assert "entries of this run wait in" in sent.warnings[0]
    tracking.finish_run(run, "FINISHED")
    assert "entries of this run wait in" in said[0]
    assert len([name for name in left(home) if name.endswith(".jsonl")]) == 2
    assert sum(found.num_sent for found in replay_all(home, server.uri, patience_s=0.1)) == 0
    server.start()
    other = begin(server.uri, home, "next")
    deadline = time.monotonic() + 60
    while len([name for name in left(home) if name.endswith(".jsonl")]) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    tracking.finish_run(other, "FINISHED")
    assert_there_once(server, result, "left")
    assert left(home) == []
    ((run_id, status),) = server.rows("SELECT run_uuid, status FROM runs WHERE name = 'killed'")
    assert status == "KILLED"
    points = server.rows("SELECT step, value FROM metrics WHERE run_uuid = ? ORDER BY step", run_id)
    assert points == [(step, 1.0 / (step + 1)) for step in range(50)]


TINY = """
name: tiny
train: {epochs: 2}
variants:
  - {name: torch, steps: []}
  - {name: script, steps: [torchscript]}
evaluation: {fgsm_epsilons: [], noise_sigmas: [0.1]}
gate: {rules: [{metric: accuracy/accuracy, max_drop: 0.02}]}
promotion: {compare_with_champion: false}
"""


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_a_whole_run_that_begins_a_minute_before_its_server_is_there_once(server, tmp_path):
    server.stop()
    config = tmp_path / "pipeline.yaml"
    config.write_text(TINY)
    command = [sys.executable, "-m", "flows", "run", str(config), "--json", "--home", str(tmp_path / "home")]
    environment = os.environ | {"MLFLOW_TRACKING_URI": server.uri}
    later = threading.Timer(60, server.start)
    later.start()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    later.join()
    assert done.returncode == 0, done.stderr
    assert "waits in" in done.stderr
    document = json.loads(done.stdout)
    runs = server.rows(
        "SELECT r.name, r.status, r.run_uuid FROM runs r JOIN experiments e USING (experiment_id) "
        "WHERE e.name = 'tiny'"
    )
    assert sorted(run[:2] for run in runs) == [
        (name, "FINISHED") for name in sorted([document["run_name"], "torch", "script"])
    ]
    parent = next(run[2] for run in runs if run[0] == document["run_name"])
    assert document["mlflow_run_id"] == parent
    assert any(parent in url for url in document["links"].values())
    losses = server.rows(
        "SELECT step FROM metrics WHERE run_uuid = ? AND key = 'training/train_loss' ORDER BY step", parent
    )
    assert losses == [(1,), (2,)]
    assert left(tmp_path / "home") == []
