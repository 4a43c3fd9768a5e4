"""Training alone, as a Prefect flow: the first half of the main job, logged as that is."""

from __future__ import annotations

import shlex

from prefect import flow
from prefect.runtime import flow_run

from flows.check import Checked, check
from flows.flow_run import command, prefect_link
from flows.home import Home, activate
from flows.job import RUNNER, opened
from flows.load import DEFAULT_CONFIG
from flows.source import enter_source
from flows.store_lock import store_in_use
from flows.train_result import TrainResult
from flows.training import trained
from pt_core.decision.result import Link
from pt_core.keys import keys_here
from tasks.dashboard import TrackedRun, links
from tasks.share import track_checkpoint
from tasks.track import track_finish, track_training


@flow(name="train", task_runner=RUNNER)  # type: ignore[arg-type]
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
    with store_in_use(home):
        return _train(config, overrides, checked, home)


def _train(config: str, overrides: tuple[str, ...], checked: Checked, home: Home) -> TrainResult:
    with opened(checked, home, labels={"stage": "train"}) as job:
        dataset, checkpoint, proof = trained(checked, home, tracked=job.tracked)
        track_training(job.tracked, checkpoint, dataset)
        track_checkpoint(job.tracked, job.name, checkpoint, home.store, keys_here())
    tracked = track_finish(job.tracked, "FINISHED")
    return TrainResult(
        run_name=job.name,
        pipeline=checked.settings.name,
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
