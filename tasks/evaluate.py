"""Task evaluate: accuracy and robustness of one artifact, in its own process."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from pt_core.building.failure import run_recorded
from pt_core.evaluation.report import EvaluationReport
from pt_core.evaluation.requests import EvaluateRequest
from pt_core.limits import Limits
from tasks.caching import cache_key
from tasks.progress import shown


@task(
    name="evaluate",
    task_run_name="evaluate {request.artifact.chain}",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def evaluate(request: EvaluateRequest, limits: Limits) -> EvaluationReport:
    """Score clean and perturbed test samples."""
    with shown():
        return run_recorded(
            "pt_core.evaluation.evaluate:evaluate",
            request,
            name="evaluate",
            reply=EvaluationReport,
            store=Path(request.store),
            limits=limits,
            num_threads=1,
        )
