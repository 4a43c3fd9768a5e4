"""Task report: the page, the pictures and the machine-readable result of a run."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pt_core.decision.result import RunResult
from pt_core.files import write_text_atomically
from pt_core.reporting.html import write_report
from tasks.progress import shown
from tasks.shared import RESULT


@task(name="report", task_run_name="write report", cache_policy=NO_CACHE)
def report(result: RunResult, folder: str) -> str:
    """Write report.html and the pictures into the run's folder; return the page's path."""
    with shown():
        return str(write_report(result, Path(folder)))


@task(name="store", task_run_name="store result", cache_policy=NO_CACHE)
def store(result: RunResult, folder: str) -> str:
    """Write run.json, from which a finished run is read again; return its path."""
    path = Path(folder) / RESULT
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, result.model_dump_json(indent=2))
    return str(path)
