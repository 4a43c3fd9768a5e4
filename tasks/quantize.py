"""Task quantize: one quantization step, from an artifact to an artifact."""

from __future__ import annotations

from prefect import task

from pt_core.artifacts.artifact import Artifact
from pt_core.building.build import StepRequest, run_step
from pt_core.limits import Limits
from tasks.caching import cache_key
from tasks.progress import shown


@task(
    name="quantize",
    task_run_name="quantize {request.source.chain} with {request.step.label}",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def quantize(request: StepRequest, limits: Limits) -> Artifact:
    """Quantize, reload in a fresh process, and compare with the reference at every batch size."""
    with shown():
        return run_step(request, limits=limits)
