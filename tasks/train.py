"""Task train: from a dataset to a checkpoint."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from pt_core.artifacts.checkpoint import Checkpoint, StartedFrom
from pt_core.building.failure import forget, run_recorded
from pt_core.bundle import check_digest
from pt_core.isolation import Progress
from pt_core.keys import keys_here
from pt_core.limits import Limits
from pt_core.modeling.allocation import allocation_environment
from pt_core.signing import sign_published
from pt_core.training.memory import with_halving
from pt_core.training.requests import TrainRequest
from tasks.caching import cache_key
from tasks.dashboard import TrackedRun
from tasks.follow import followed
from tasks.progress import shown


@task(
    name="train",
    task_run_name="train {request.model.target}",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def train(request: TrainRequest, limits: Limits, tracked: TrackedRun | None = None) -> Checkpoint:
    """Train the network in a process of its own, log its epochs to ``tracked`` as they end, and sign the checkpoint."""
    with shown() as show, followed(tracked) as log:

        def on_progress(progress: Progress) -> None:
            show(progress)
            log(progress)

        def attempt(request: TrainRequest) -> Checkpoint:
            return run_recorded(
                "pt_core.training.fit:train",
                request,
                name="train",
                reply=Checkpoint,
                store=Path(request.store),
                limits=limits,
                on_progress=on_progress,
                environment=allocation_environment(request.model.gradient_checkpointing),
            )

        checkpoint = with_halving(attempt, request)
    if checkpoint.micro_batch is not None:
        forget("train", request, store=Path(request.store))
    # Here and not in the process that trained: the user's code is not to run where the key is read.
    check_digest(checkpoint)
    sign_published(Path(checkpoint.directory), keys_here())
    for remark in checkpoint.remarks:
        get_run_logger().warning("training: %s", remark)
    if checkpoint.warm_start:
        _log_warm_start(checkpoint.warm_start)
    return checkpoint


def _log_warm_start(started: StartedFrom) -> None:
    """Write every tensor that was not loaded into the log of the task."""
    logger = get_run_logger()
    logger.info(started.sentence)
    for problem in started.report.problems:
        logger.warning("warm start: not loaded: %s", problem)
