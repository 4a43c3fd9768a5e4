"""Task share: log what another machine needs to go on from a run, the signed record last."""

from __future__ import annotations

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pt_core.bundle import Bundle
from pt_core.decision.result import RunResult
from pt_core.keys import Keys
from tasks import tracking
from tasks.dashboard import TrackedRun
from tasks.progress import shown
from tasks.shared import (
    CHECKPOINT,
    RECORD,
    RunRecordInfo,
    max_shared_bytes,
    seal_record,
    seal_training,
    shared,
)

logger = logging.getLogger(__name__)


@task(name="track-bundles", task_run_name="log bundles", cache_policy=NO_CACHE)
def track_bundles(run: TrackedRun, result: RunResult, folder: str, keys: Keys) -> None:
    """Log the checkpoint, the dataset and the evaluations if they are small, and the signed record of the run."""
    with shown():
        log_bundles(run, result, folder, keys)


def log_bundles(run: TrackedRun, result: RunResult, folder: str, keys: Keys) -> None:
    """Log what goes along with a run; its artifacts do as logged models.

    The result is in the folder already: where MLflow is away, it is read from there when the run has an id.
    A dataset that stays behind is prepared again where it is needed.

    Raises:
        ConfigError: the limit in the environment is no number.
        IntegrityError: a bundle is missing or damaged.
    """
    limit = max_shared_bytes()
    for name, bundle in shared(result):
        if name != CHECKPOINT and bundle.size_bytes > limit:
            logger.info(
                "%s of %d bytes is not logged, the limit is %d MiB", name, bundle.size_bytes, limit >> 20
            )
            continue
        tracking.log_bundle(run, bundle.directory, name)
    # The last: a run that has a record is whole.
    if result.mlflow_run_id:
        tracking.log_bundle(run, seal_record(result, Path(folder), keys).directory, RECORD)
    else:
        # The record names the run in MLflow, which has no id while MLflow is away.
        tracking.log_record_later(run, folder)


@task(name="track-checkpoint", task_run_name="log checkpoint", cache_policy=NO_CACHE)
def track_checkpoint(run: TrackedRun, run_name: str, checkpoint: Bundle, store: str, keys: Keys) -> None:
    """Log the checkpoint of a training alone, and the signed record that says which one it made.

    Where MLflow is away the run has no id that a record could name: its checkpoint then is for this home alone.

    Raises:
        IntegrityError: the checkpoint is damaged.
    """
    tracking.log_bundle(run, checkpoint.directory, CHECKPOINT)
    if run_id := tracking.known(run).run_id:
        info = RunRecordInfo(run_name=run_name, mlflow_run_id=run_id, checkpoint_digest=checkpoint.digest)
        tracking.log_bundle(run, seal_training(info, Path(store), keys).directory, RECORD)
