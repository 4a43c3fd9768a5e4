"""Training alone, as a Prefect flow: the first half of the main job, logged as that is."""

from __future__ import annotations

import shlex
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.check import Checked, check
from flows.flow_run import command, prefect_link, run_name, tags
from flows.home import Home, activate
from flows.keys import check_keys
from flows.load import DEFAULT_CONFIG
from flows.servers import check_servers
from flows.source import enter_source
from flows.store_lock import store_in_use
from flows.train_result import TrainResult
from flows.training import trained
from pt_core.bundle import sweep
from pt_core.decision.result import Link
from pt_core.environment import num_cpus
from pt_core.isolation import stop_all
from tasks.dashboard import TrackedRun, links
from tasks.share import track_checkpoint
from tasks.track import close_failed, track_finish, track_start, track_training


@flow(name="train", task_runner=ThreadPoolTaskRunner(max_workers=max(2, num_cpus())))  # type: ignore[arg-type]
def train_alone(config: str = DEFAULT_CONFIG, overrides: tuple[str, ...] = ()) -> TrainResult:
    """Train a classifier and end with a verified checkpoint.

    Args:
        config: a YAML file, or the name of a shipped configuration.
        overrides: changes to it, each "name.name=value".

    Raises:
        PtCoreError: bad input, or a stage failed.
    """
    home = activate(None)
    checked = check(config, overrides)
    enter_source(checked)
    check_servers(home, mlflow_may_be_away=True)
    check_keys(home)
    with store_in_use(home):
        return _train(config, overrides, checked, home)


def _train(config: str, overrides: tuple[str, ...], checked: Checked, home: Home) -> TrainResult:
    sweep(Path(home.store))
    name, pipeline = run_name(), checked.settings.name
    labels = tags(config) | {"stage": "train"}
    tracked = track_start(home.tracking_uri, pipeline, name, home.mlflow_artifacts, labels)
    try:
        dataset, checkpoint, proof = trained(checked, home, tracked=tracked)
        track_training(tracked, checkpoint, dataset)
        track_checkpoint(tracked, checkpoint)
    except BaseException:
        # The threads that wait for a child never see an interrupt: without this the run would end with the child.
        stop_all()
        close_failed(tracked)
        raise
    tracked = track_finish(tracked, "FINISHED")
    return TrainResult(
        run_name=name,
        pipeline=pipeline,
        dataset=dataset,
        checkpoint=checkpoint,
        checks=proof.checks,
        prefect_flow_run_id=str(flow_run.id),
        mlflow_run_id=tracked.run_id or None,
        links=(*_own_page(tracked), *prefect_link()),
        reproduce=command("train", config, overrides),
        go_on=command("run", config, overrides, f"--from {shlex.quote(checkpoint.directory)}"),
    )


def _own_page(tracked: TrackedRun) -> tuple[Link, ...]:
    """Return the page of the run; the others compare variants, and there are none."""
    return tuple(link for link in links(tracked) if link.name == "This run" or not tracked.run_id)
