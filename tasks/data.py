"""Task prepare: load, check and split the samples."""

from __future__ import annotations

from prefect import task

from pt_core.data.dataset import Dataset
from pt_core.data.requests import PrepareRequest
from pt_core.isolation import run_isolated
from tasks.caching import cache_key
from tasks.progress import shown


@task(
    name="prepare",
    task_run_name="prepare {request.config.source}",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def prepare(request: PrepareRequest, timeout_s: float) -> Dataset:
    """Load, check and split the samples into a dataset bundle."""
    with shown():
        return run_isolated("pt_core.data.prepare:prepare", request, reply=Dataset, timeout_s=timeout_s)
