"""Task efficiency: time every artifact against the reference, alone on the machine and never from a cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pt_core.artifacts.artifact import Artifact
from pt_core.building.failure import run_recorded
from pt_core.errors import PtCoreError
from pt_core.evaluation.report import EfficiencyReport
from pt_core.evaluation.requests import EfficiencyReports, EfficiencyRequest, StartReport, StartRequest
from pt_core.isolation import Progress
from pt_core.limits import Limits
from tasks.progress import shown

Timed = dict[str, EfficiencyReport | PtCoreError]
"""What timing each artifact came to, by the artifact's digest."""


@task(name="efficiency", task_run_name="measure speed", cache_policy=NO_CACHE)
def efficiency(request: EfficiencyRequest, limits: Limits) -> Timed:
    """Time all artifacts interleaved in one process, each alone with the reference if one breaks it; then start each.

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
            timed = measure(request)
        except PtCoreError:
            if not request.artifacts:
                raise
            timed = _one_by_one(request, measure)
        return _with_starts(timed, request, limits, on_progress)


def _one_by_one(request: EfficiencyRequest, measure: Callable[[EfficiencyRequest], Timed]) -> Timed:
    timed = measure(request.model_copy(update={"artifacts": ()}))
    for artifact in request.artifacts:
        try:
            timed = measure(request.model_copy(update={"artifacts": (artifact,)})) | timed
        except PtCoreError as error:
            timed[artifact.digest] = error
    return timed


def _with_starts(
    timed: Timed, request: EfficiencyRequest, limits: Limits, on_progress: Callable[[Progress], None]
) -> Timed:
    """Return the reports with what starting each artifact takes, one process after the other."""
    artifacts = {artifact.digest: artifact for artifact in (request.reference, *request.artifacts)}
    found = dict(timed)
    for done, (digest, artifact) in enumerate(artifacts.items()):
        on_progress(Progress(done=done, total=len(artifacts), message="cold start"))
        report = timed.get(digest)
        if isinstance(report, EfficiencyReport):
            found[digest] = report.model_copy(update=_start(artifact, request, limits))
    return found


def _start(artifact: Artifact, request: EfficiencyRequest, limits: Limits) -> dict[str, float | str | None]:
    if not request.config.cold_starts:
        return {"start_reason": "efficiency.cold_starts is off"}
    try:
        found = run_recorded(
            "pt_core.evaluation.start:measure_start",
            StartRequest(artifact=artifact, batch_size=request.config.throughput_batch_size),
            name="start",
            reply=StartReport,
            store=Path(request.reference.directory).parent,
            limits=limits,
            num_threads=request.config.num_threads,
        )
    except PtCoreError as error:
        return {"start_reason": error.message}
    return found.model_dump()
