"""Task efficiency: time every artifact against the reference, alone on the machine and never from a cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pt_core.building.failure import run_recorded
from pt_core.errors import PtCoreError
from pt_core.evaluation.report import EfficiencyReport
from pt_core.evaluation.requests import EfficiencyReports, EfficiencyRequest
from pt_core.limits import Limits
from tasks.progress import shown

Timed = dict[str, EfficiencyReport | PtCoreError]
"""What timing each artifact came to, by the artifact's digest."""


@task(name="efficiency", task_run_name="measure speed", cache_policy=NO_CACHE)
def efficiency(request: EfficiencyRequest, limits: Limits) -> Timed:
    """Time all artifacts interleaved in one process; if one of them breaks it, each alone with the reference.

    Raises:
        PtCoreError: not even the reference can be timed.
    """
    with shown() as on_progress:

        def measure(part: EfficiencyRequest) -> Timed:
            found = run_recorded(
                "pt_core.evaluation.efficiency:measure",
                part,
                name="efficiency",
                reply=EfficiencyReports,
                store=Path(part.reference.directory).parent,
                limits=limits,
                num_threads=request.config.num_threads,
                on_progress=on_progress,
            )
            return {report.artifact_digest: report for report in found.reports}

        try:
            return measure(request)
        except PtCoreError:
            if not request.artifacts:
                raise
            return _one_by_one(request, measure)


def _one_by_one(request: EfficiencyRequest, measure: Callable[[EfficiencyRequest], Timed]) -> Timed:
    timed = measure(request.model_copy(update={"artifacts": ()}))
    for artifact in request.artifacts:
        try:
            timed = measure(request.model_copy(update={"artifacts": (artifact,)})) | timed
        except PtCoreError as error:
            timed[artifact.digest] = error
    return timed
