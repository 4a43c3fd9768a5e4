"""A training is logged while it goes on, once, and nothing waits for MLflow; runs of killed processes are closed."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from run_results import make_checkpoint, make_dataset

from pt_core.isolation import Progress
from tasks import tracking
from tasks.dashboard import TrackedRun
from tasks.follow import followed
from tasks.progress import _LogDisplay


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    home = tmp_path_factory.mktemp("follow")
    return SimpleNamespace(uri=f"sqlite:///{home}/mlflow.db", root=str(home / "mlartifacts"))


def start(place, name="followed"):
    return tracking.start_run(
        place.uri, experiment="follow", run_name=name, artifact_root=place.root, tags={}
    )


def points(run, key):
    client = MlflowClient(run.tracking_uri)
    return [(point.step, point.value) for point in client.get_metric_history(run.run_id, key)]


def test_figures_are_there_while_the_training_goes_on_and_are_not_logged_twice(place, tmp_path):
    samples = make_dataset(tmp_path, ("a", "b"))
    run, trained = start(place), make_checkpoint(tmp_path, samples, num_epochs=3)
    first = trained.history[0]
    with followed(run, sample_every_s=0.1) as on_progress:
        on_progress(Progress(done=1, total=9, message="only for the eye"))
        on_progress(Progress(done=2, total=9, step=first.epoch, figures={"train_loss": first.train_loss}))
        end = time.monotonic() + 20
        while not (points(run, "training/train_loss") and points(run, "system/cpu_utilization_percentage")):
            assert time.monotonic() < end, "nothing was logged"
            time.sleep(0.05)
    assert points(run, "system/steps_memory_megabytes")
    assert points(run, "system/system_memory_usage_percentage")[0][1] > 1
    tracking.log_checkpoint(run, trained, samples)
    assert points(run, "training/train_loss") == [
        (metrics.epoch, metrics.train_loss) for metrics in trained.history
    ]
    tracking.finish_run(run, "FINISHED")


def test_a_training_does_not_wait_for_a_dead_server(hear):
    told = hear("tasks.follow")
    run = TrackedRun(tracking_uri="sqlite:////nowhere/at/all.db", experiment_id="1", run_id="0" * 32)
    with followed(run) as on_progress:
        started = time.monotonic()
        for epoch in range(1000):
            on_progress(Progress(done=epoch, total=1000, step=epoch, figures={"train_loss": 1.0}))
        assert time.monotonic() - started < 1
    assert [sentence.count("the training is logged when it has ended") for sentence in told] == [1]


def test_runs_of_a_killed_process_are_closed_by_the_next_and_those_of_a_live_one_are_not(place):
    mine = start(place)
    code = (
        "import os, sys; from tasks import tracking; "
        "run = tracking.start_run(sys.argv[1], experiment='follow', run_name='k', artifact_root=sys.argv[2], tags={});"
        "print(run.run_id, flush=True); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, place.uri, place.root]
    killed = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]).stdout
    client = MlflowClient(place.uri)
    assert client.get_run(killed.strip()).info.status == "RUNNING"
    other = start(place, name="next")
    states = [client.get_run(one).info.status for one in (killed.strip(), mine.run_id, other.run_id)]
    assert states == ["KILLED", "RUNNING", "RUNNING"]


def test_the_log_has_a_line_for_each_quarter_however_the_steps_fall(caplog):
    display = _LogDisplay()
    display._loggers.append(logging.getLogger("quarters"))
    display._quarters.append(0)
    with caplog.at_level("INFO"):
        for done in (3, 24, 26, 49, 77, 78, 100):
            display.update(0, Progress(done=done, total=100))
    assert [record.args[0] for record in caplog.records] == [26, 77, 100]
