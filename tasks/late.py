"""Complete the result of a run that began and ended while MLflow was away, once MLflow has given the run its id."""

from __future__ import annotations

from pathlib import Path

from pt_core.bundle import Bundle
from pt_core.decision.result import RunResult
from pt_core.files import write_text_atomically
from pt_core.keys import keys_here
from tasks.dashboard import TrackedRun, links
from tasks.shared import RESULT, seal_record


def completed(result: RunResult, run: TrackedRun) -> RunResult:
    """Return a result with the id and the pages of its run, and no more word of what waited in its outbox."""
    pages = links(run)
    named = {page.name for page in (*pages, *links(run.model_copy(update={"run_id": ""})))}
    return result.model_copy(
        update={
            "mlflow_run_id": run.run_id,
            "links": (*pages, *(link for link in result.links if link.name not in named)),
            "warnings": tuple(said for said in result.warnings if not run.outbox or run.outbox not in said),
        }
    )


def late_record(folder: Path, run: TrackedRun) -> Bundle:
    """Complete the result in a run's folder, and seal it there as the run's signed record.

    Raises:
        ConfigError: the key that signs cannot be used.
        OSError: there is no result, or the disk does not take the new one.
        ValidationError: it is none.
    """
    result = completed(RunResult.from_json((folder / RESULT).read_bytes()), run)
    record = seal_record(result, folder, keys_here())
    write_text_atomically(folder / RESULT, result.model_dump_json(indent=2))
    return record
