"""Task prepare: load, check and split the samples."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from pt_core.building.failure import run_recorded
from pt_core.data.dataset import Dataset
from pt_core.data.requests import PrepareRequest
from pt_core.limits import Limits
from tasks.caching import cache_key
from tasks.progress import shown


@task(
    name="prepare",
    task_run_name="prepare {request.config.source}",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def prepare(request: PrepareRequest, limits: Limits) -> Dataset:
    """Load, check and split the samples into a dataset bundle."""
    with shown():
        return run_recorded(
            "pt_core.data.prepare:prepare",
            request,
            name="prepare",
            reply=Dataset,
            store=Path(request.store),
            limits=limits,
        )
