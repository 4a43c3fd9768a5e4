"""Task verify: prove that a checkpoint is what its manifest says before anything is built from it."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from pt_core.artifacts.integrity import IntegrityReport
from pt_core.building.failure import run_recorded
from pt_core.inference.requests import VerifyRequest
from pt_core.limits import Limits
from tasks.caching import cache_key
from tasks.progress import shown


@task(
    name="verify",
    task_run_name="verify checkpoint",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def verify(request: VerifyRequest, limits: Limits) -> IntegrityReport:
    """Check digests, load safely, check finiteness and shapes, replay the golden outputs."""
    with shown():
        return run_recorded(
            "pt_core.inference.verify:verify",
            request,
            name="verify",
            reply=IntegrityReport,
            store=Path(request.directory).parent,
            limits=limits,
            num_threads=1,
        )
