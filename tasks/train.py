"""Task train: from a dataset to a checkpoint."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.building.failure import run_recorded
from pt_core.limits import Limits
from pt_core.training.requests import TrainRequest
from tasks.caching import cache_key
from tasks.progress import shown


@task(
    name="train",
    task_run_name="train {request.model.target}",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def train(request: TrainRequest, limits: Limits) -> Checkpoint:
    """Train the network in a process of its own."""
    with shown() as on_progress:
        return run_recorded(
            "pt_core.training.fit:train",
            request,
            name="train",
            reply=Checkpoint,
            store=Path(request.store),
            limits=limits,
            on_progress=on_progress,
        )
