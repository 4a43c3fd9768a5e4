"""Task score: answers for every row of an input; a retry goes on where the last one ended."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from pt_core.errors import StepFailed
from pt_core.isolation import run_isolated
from pt_core.limits import Limits
from pt_core.scoring.requests import ScoreRequest, Scores
from tasks.progress import shown

_MORE = "a higher {0} allows more"


@task(name="score", task_run_name="score {request.source}", persist_result=False)
def score(request: ScoreRequest, limits: Limits) -> Scores:
    """Score in a process of its own, on all cores.

    Raises:
        PtCoreError: the input, the output or the artifact is refused.
        StepFailed: the process ended early; what it had scored is kept.
    """
    with shown() as on_progress:
        try:
            return run_isolated(
                "pt_core.scoring.score:score",
                request,
                reply=Scores,
                timeout_s=limits.timeout_s,
                max_memory_bytes=limits.max_memory_bytes,
                writes_to=Path(request.output).parent,
                on_progress=on_progress,
                more=_MORE,
            )
        except StepFailed as error:
            kept = "what was scored is kept, and the same call goes on from there"
            raise error.with_message(f"{error.message}; {kept}") from error
