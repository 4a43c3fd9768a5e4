"""Task diverge: where an artifact parts from its reference, layer by layer."""

from __future__ import annotations

from prefect import task

from pt_core.evaluation.difference import Divergence, DivergeRequest
from pt_core.isolation import run_isolated
from pt_core.limits import Limits
from tasks.caching import cache_key
from tasks.progress import shown


@task(
    name="diverge",
    task_run_name="find where {request.b.chain} parts",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def diverge(request: DivergeRequest, limits: Limits) -> Divergence:
    """Compare two artifacts layer by layer on the samples that they differ on most."""
    with shown():
        return run_isolated(
            "pt_core.evaluation.divergence:diverge",
            request,
            reply=Divergence,
            timeout_s=limits.timeout_s,
            max_memory_bytes=limits.max_memory_bytes,
            num_threads=1,
        )
