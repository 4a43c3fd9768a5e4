"""Task train: from a dataset to a checkpoint."""

from __future__ import annotations

from prefect import task

from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.isolation import run_isolated
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
def train(request: TrainRequest, timeout_s: float) -> Checkpoint:
    """Train the network in a process of its own."""
    with shown() as on_progress:
        return run_isolated(
            "pt_core.training.fit:train",
            request,
            reply=Checkpoint,
            timeout_s=timeout_s,
            on_progress=on_progress,
        )
