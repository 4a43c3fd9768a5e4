"""Task evaluate: accuracy and robustness of one artifact, in its own process."""

from __future__ import annotations

from prefect import task

from pt_core.evaluation.report import EvaluationReport
from pt_core.evaluation.requests import EvaluateRequest
from pt_core.isolation import run_isolated
from tasks.caching import cache_key
from tasks.progress import shown


@task(
    name="evaluate",
    task_run_name="evaluate {request.artifact.chain}",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def evaluate(request: EvaluateRequest, timeout_s: float) -> EvaluationReport:
    """Score clean and perturbed test samples."""
    with shown():
        return run_isolated(
            "pt_core.evaluation.evaluate:evaluate",
            request,
            reply=EvaluationReport,
            timeout_s=timeout_s,
            num_threads=1,
        )
