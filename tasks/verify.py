"""Task verify: prove that a checkpoint is what its manifest says before anything is built from it."""

from __future__ import annotations

from prefect import task

from pt_core.artifacts.integrity import IntegrityReport
from pt_core.inference.requests import VerifyRequest
from pt_core.isolation import run_isolated
from tasks.caching import cache_key
from tasks.progress import shown


@task(
    name="verify",
    task_run_name="verify checkpoint",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def verify(request: VerifyRequest, timeout_s: float) -> IntegrityReport:
    """Check digests, load safely, check finiteness and shapes, replay the golden outputs."""
    with shown():
        return run_isolated(
            "pt_core.inference.verify:verify",
            request,
            reply=IntegrityReport,
            timeout_s=timeout_s,
            num_threads=1,
        )
