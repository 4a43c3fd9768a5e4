"""Tasks that log a run to MLflow; never cached, so that a run made of cached steps is logged whole."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.data.dataset import Dataset
from pt_core.decision.result import RunResult
from pt_core.reporting.plots import variant_pictures
from tasks import tracking
from tasks.progress import shown


@task(name="track-start", task_run_name="open MLflow run", cache_policy=NO_CACHE)
def track_start(
    tracking_uri: str, experiment: str, run_name: str, artifact_root: str, tags: dict[str, str]
) -> tracking.TrackedRun:
    """Open the parent run."""
    with shown("open MLflow run"):
        return tracking.start_run(
            tracking_uri, experiment=experiment, run_name=run_name, artifact_root=artifact_root, tags=tags
        )


@task(name="track-training", task_run_name="log training", cache_policy=NO_CACHE)
def track_training(run: tracking.TrackedRun, checkpoint: Checkpoint, dataset: Dataset) -> None:
    """Log the parameters, the epochs and the dataset."""
    tracking.log_checkpoint(run, checkpoint, dataset)


@task(name="track-result", task_run_name="log variants", cache_policy=NO_CACHE)
def track_result(run: tracking.TrackedRun, result: RunResult, files: tuple[str, ...]) -> None:
    """Log a child run and a model per variant, then the comparison and the pictures on the parent."""
    with shown("log variants"):
        for variant in result.variants:
            tracking.log_variant(run, variant, result.dataset, pictures=variant_pictures(variant, result))
        tracking.log_result(run, result, [Path(file) for file in files])


@task(name="track-finish", task_run_name="close MLflow run", cache_policy=NO_CACHE)
def track_finish(run: tracking.TrackedRun, status: str) -> None:
    """Close the parent run."""
    tracking.finish_run(run, status)
