"""Maintenance as a Prefect flow, for a schedule and for the automation that follows a crash."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.ending import ending
from flows.home import activate
from flows.maintain import KEEP_LAST, maintain
from flows.maintenance_report import MaintenanceReport


@flow(name="maintenance")
def maintenance(
    keep_last: Annotated[int, Field(ge=1, le=10_000)] = KEEP_LAST, remove: bool = True, dry_run: bool = False
) -> MaintenanceReport | State[Any]:
    """Finish what dead processes left, close their runs, and remove runs and bundles that no longer serve.

    It fails with a sentence where a server does not answer, or MLflow cannot say what is in use; nothing is removed then.

    Args:
        keep_last: How many runs of each pipeline stay with their bundles; what an alias points at always stays.
        remove: Whether older ones are removed; without it only what dead processes left is closed.
        dry_run: Only say what would be removed.
    """
    return ending(lambda: _maintained(keep_last=keep_last, remove=remove, dry_run=dry_run))


def _maintained(*, keep_last: int, remove: bool, dry_run: bool) -> MaintenanceReport:
    report = maintain(activate(None), keep_last=keep_last, remove=remove, dry_run=dry_run)
    get_run_logger().info("%s", report.sentence)
    create_markdown_artifact(markdown=_markdown(report), key="maintenance", description=report.sentence)
    return report


def _markdown(report: MaintenanceReport) -> str:
    """Return the report as Markdown."""
    lines = [f"# {report.sentence}", ""]
    for title, sentences in (
        ("Not done", report.problems),
        ("Closed in MLflow", report.closed),
        ("Promotions settled", report.settled),
        ("Older, kept all the same", tuple(f"{one.name}: {one.why}" for one in report.kept)),
    ):
        if sentences:
            lines += [f"## {title}", "", *(f"- {_plain(one)}" for one in sentences), ""]
    if report.removed:
        lines += ["| removed | name | bytes |", "|--|--|--:|"]
        lines += [f"| {one.kind} | {one.name} | {one.size_bytes:,} |" for one in report.removed]
    return "\n".join(lines)


def _plain(text: str) -> str:
    return " ".join(text.replace("<", "&lt;").split())
