"""Task report: the page, the pictures and the machine-readable result of a run."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pt_core.decision.result import RunResult
from pt_core.files import write_text_atomically
from pt_core.record import Record
from pt_core.reporting.html import write_report
from tasks.progress import shown

RESULT = "run.json"
"""The whole RunResult of a run, in its folder."""


class ReportFiles(Record):
    """What a run leaves for people and scripts."""

    folder: str
    """The run's folder."""
    report: str
    """The self-contained HTML page."""
    files: tuple[str, ...]
    """Every file of the folder."""


@task(name="report", task_run_name="write report", cache_policy=NO_CACHE)
def report(result: RunResult, folder: str) -> ReportFiles:
    """Write report.html, the pictures and run.json into the run's folder."""
    with shown():
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        page = write_report(result, target)
        write_text_atomically(target / RESULT, result.model_dump_json(indent=2))
        files = tuple(str(path) for path in sorted(target.iterdir()) if path.is_file())
        return ReportFiles(folder=folder, report=str(page), files=files)
