"""An MLflow server that is away costs no run, no metric and no more than two seconds; everything is there once."""

from __future__ import annotations

import contextlib
import functools
import itertools
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


def test_a_server_that_hangs_in_the_middle_and_goes_on_has_everything_once(
    server, result, home, tmp_path, monkeypatch
):
    server.ensure()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    watch = Stopwatch()
    run = begin(server.uri, home, "hang in the middle")
    assert run.run_id
    server.signal(signal.SIGSTOP)
    with watch.running():
        train(run, result)
        log_rest(run, result, tmp_path)
    assert watch.seconds < HELD_UP_S
    time.sleep(3)
    server.signal(signal.SIGCONT)
    tracking.finish_run(run, "FINISHED")
    assert_there_once(server, result, "hang in the middle")
    assert left(home) == []


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


NUM_EPOCHS = 100
AWAY_S = 60.0
TINY = f"""
name: NAME
model: {{target: "paced:paced"}}
train: {{epochs: {NUM_EPOCHS}}}
variants:
  - {{name: torch, steps: []}}
  - {{name: script, steps: [torchscript]}}
evaluation: {{fgsm_epsilons: [], noise_sigmas: [0.1]}}
gate: {{rules: [{{metric: accuracy/accuracy, max_drop: 0.02}}]}}
promotion: {{compare_with_champion: false}}
"""
PACED = """
import time
from pathlib import Path
from torch import nn

class Paced(nn.Sequential):
    def forward(self, inputs):
        if self.training:
            time.sleep(0.01)
            with Path(__file__).with_name("passes").open("a") as passes:
                print(time.monotonic(), file=passes)
        return super().forward(inputs)

def paced(input_shape, num_classes):
    return Paced(nn.Flatten(), nn.Linear(64, num_classes))
"""
"""A network whose training lasts for some time on every machine, and which writes down when each pass of it began."""


def take_away(server: MlflowServer, how: signal.Signals) -> None:
    """Kill a server, so that its port refuses, or stop it, so that it hangs."""
    if how == signal.SIGKILL:
        server.kill()
    else:
        server.signal(how)


def bring_back(server: MlflowServer, how: signal.Signals) -> None:
    if how == signal.SIGKILL:
        server.start()
    else:
        server.signal(signal.SIGCONT)


def passes_in(folder: Path) -> list[float]:
    path = folder / "passes"
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def steps_of(server: MlflowServer, experiment: str) -> list[int]:
    """Return the steps whose loss a run's experiment holds, one for each point."""
    points = server.rows(
        "SELECT m.step FROM metrics m JOIN runs r USING (run_uuid) JOIN experiments e USING (experiment_id) "
        "WHERE e.name = ? AND m.key = 'training/train_loss' ORDER BY m.step",
        experiment,
    )
    return [step for (step,) in points]


@contextlib.contextmanager
def away(server: MlflowServer, how: signal.Signals) -> Iterator[None]:
    """Let a server be away for a minute, and at the end of the block wait until it is back."""
    take_away(server, how)
    later = threading.Timer(AWAY_S, bring_back, (server, how))
    later.start()
    try:
        yield
    finally:
        later.join()


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["refuses", "hangs"])
@pytest.mark.parametrize("since", ["start", "middle"])
def test_a_whole_run_whose_server_is_away_for_a_minute_is_there_once(server, tmp_path, since, how):
    server.ensure()
    name = f"{since}-{how.name.lower()}"
    (tmp_path / "paced.py").write_text(PACED)
    config = tmp_path / "pipeline.yaml"
    config.write_text(TINY.replace("NAME", name))
    command = [sys.executable, "-m", "flows", "run", str(config), "--json", "--home", str(tmp_path / "home")]
    run = functools.partial(
        subprocess.Popen,
        command,
        cwd=ROOT,
        env=os.environ | {"MLFLOW_TRACKING_URI": server.uri},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if since == "start":
        with away(server, how), run() as process:
            printed, said = process.communicate(timeout=600)
    else:
        with run() as process:
            while not steps_of(server, name):
                assert process.poll() is None, process.communicate()
                time.sleep(0.2)
            with away(server, how):
                num_before = len(passes_in(tmp_path))
                printed, said = process.communicate(timeout=600)
        assert num_before < len(passes_in(tmp_path)) / 2
    assert process.returncode == 0, said
    assert "waits in" in said
    passes = passes_in(tmp_path)
    longest = max(after - before for before, after in itertools.pairwise(passes))
    print(f"{name}: the longest of {len(passes)} passes took {longest:.2f} s")
    assert longest < HELD_UP_S
    assert_whole_run_once(server, json.loads(printed), name)
    assert left(tmp_path / "home") == []


def assert_whole_run_once(server: MlflowServer, document: dict, name: str) -> None:
    runs = server.rows(
        "SELECT r.name, r.status, r.run_uuid FROM runs r JOIN experiments e USING (experiment_id) "
        "WHERE e.name = ? AND r.lifecycle_stage = 'active'",
        name,
    )
    assert sorted(run[:2] for run in runs) == [
        (one, "FINISHED") for one in sorted([document["run_name"], "torch", "script"])
    ]
    parent = next(run[2] for run in runs if run[0] == document["run_name"])
    assert document["mlflow_run_id"] == parent
    assert any(parent in url for url in document["links"].values())
    assert steps_of(server, name) == list(range(1, NUM_EPOCHS + 1))
    models = server.rows(
        "SELECT m.name, m.status FROM logged_models m JOIN experiments e USING (experiment_id) "
        "WHERE e.name = ? AND m.lifecycle_stage = 'active' ORDER BY m.name",
        name,
    )
    assert models == [("script", 2), ("torch", 2)]
