"""Tasks that log a run to MLflow; never cached, so that a run made of cached steps is logged whole."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.data.dataset import Dataset
from pt_core.decision.result import Link, RunResult
from pt_core.record import Record
from tasks import tracking
from tasks.dashboard import TrackedRun, links
from tasks.progress import shown

logger = logging.getLogger(__name__)


class Tracked(Record):
    """What is known in MLflow of a run that was logged."""

    run: TrackedRun
    """The run, with MLflow's ids where they are known."""
    links: tuple[Link, ...]
    """Its pages."""
    warnings: tuple[str, ...]
    """What waits in the outbox, in one sentence; nothing where MLflow has it all."""


@task(name="track-start", task_run_name="open MLflow run", cache_policy=NO_CACHE)
def track_start(
    tracking_uri: str, experiment: str, run_name: str, artifact_root: str, tags: dict[str, str]
) -> TrackedRun:
    """Open the parent run."""
    with shown():
        return tracking.start_run(
            tracking_uri, experiment=experiment, run_name=run_name, artifact_root=artifact_root, tags=tags
        )


@task(name="track-training", task_run_name="log training", cache_policy=NO_CACHE)
def track_training(run: TrackedRun, checkpoint: Checkpoint, dataset: Dataset) -> None:
    """Log the parameters, the epochs and the dataset."""
    tracking.log_checkpoint(run, checkpoint, dataset)


@task(name="track-result", task_run_name="log variants", cache_policy=NO_CACHE)
def track_result(run: TrackedRun, result: RunResult, folder: str) -> Tracked:
    """Log a child run and a model per variant, then the comparison and the page on the parent; return the links."""
    with shown():
        files = sorted(path for path in Path(folder).iterdir() if path.is_file())
        own = {variant.name: _pictures(files, variant.name) for variant in result.variants}
        children = [
            tracking.log_variant(
                run,
                variant,
                result.dataset,
                pictures={name: path.read_bytes() for name, path in own[variant.name].items()},
            )
            for variant in result.variants
        ]
        taken = {path for pictures in own.values() for path in pictures.values()}
        tracking.log_result(run, result, [path for path in files if path not in taken])
        sent = tracking.flush(run, children)
        return Tracked(run=sent.run, links=links(sent.run, children=sent.children), warnings=sent.warnings)


@task(name="track-finish", task_run_name="close MLflow run", cache_policy=NO_CACHE)
def track_finish(run: TrackedRun, status: tracking.RunStatus) -> TrackedRun:
    """Close the parent run; return it with the ids that are known by now."""
    return tracking.finish_run(run, status)


def close_failed(
    run: TrackedRun, finish: Callable[[TrackedRun, tracking.RunStatus], TrackedRun] = track_finish
) -> None:
    """Close the parent run of a failed run; that this fails too is a warning, so that the first error is the one shown."""
    try:
        finish(run, "FAILED")
    except Exception as error:  # noqa: BLE001 - whatever MLflow or Prefect raise here, it is not why the run failed
        logger.warning(
            "MLflow run %s stays open, it could not be closed: %s",
            run.run_id,
            str(error).partition("\n")[0][:300],
        )


def _pictures(files: list[Path], variant: str) -> dict[str, Path]:
    """Return a variant's pictures under names that are the same for every variant, as MLflow compares them."""
    names = ("confusion_matrix.png", "roc.png", "pr.png", "reliability.png")
    return {name: path for path in files for name in names if path.name == f"{variant}-{name}"}
