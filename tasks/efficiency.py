"""Task efficiency: time every artifact against the reference, alone on the machine and never from a cache."""

from __future__ import annotations

import logging
from collections.abc import Callable

from prefect import task
from prefect.cache_policies import NO_CACHE

from pt_core.errors import PtCoreError
from pt_core.evaluation.report import EfficiencyReport
from pt_core.evaluation.requests import EfficiencyReports, EfficiencyRequest
from pt_core.isolation import run_isolated
from tasks.progress import shown

logger = logging.getLogger(__name__)


@task(name="efficiency", task_run_name="measure speed", cache_policy=NO_CACHE)
def efficiency(request: EfficiencyRequest, timeout_s: float) -> tuple[EfficiencyReport, ...]:
    """Time all artifacts interleaved in one process; if one of them breaks it, each alone with the reference."""
    with shown() as on_progress:

        def measure(part: EfficiencyRequest) -> tuple[EfficiencyReport, ...]:
            return run_isolated(
                "pt_core.evaluation.efficiency:measure",
                part,
                reply=EfficiencyReports,
                timeout_s=timeout_s,
                num_threads=request.config.num_threads,
                on_progress=on_progress,
            ).reports

        try:
            return measure(request)
        except PtCoreError:
            if not request.artifacts:
                raise
            return _one_by_one(request, measure)


def _one_by_one(
    request: EfficiencyRequest, measure: Callable[[EfficiencyRequest], tuple[EfficiencyReport, ...]]
) -> tuple[EfficiencyReport, ...]:
    found = {
        report.artifact_digest: report for report in measure(request.model_copy(update={"artifacts": ()}))
    }
    for artifact in request.artifacts:
        try:
            reports = measure(request.model_copy(update={"artifacts": (artifact,)}))
        except PtCoreError as error:
            logger.warning("%s cannot be timed: %s", artifact.directory, error)
            continue
        found |= {report.artifact_digest: report for report in reports[1:]}
    return tuple(found.values())
