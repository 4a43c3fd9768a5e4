"""pt-pipeline maintenance: what dead processes left is finished, what no longer serves is removed."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from flows.cli.output import print_json, results
from flows.home import Home
from flows.maintain import maintain
from flows.maintenance_report import MaintenanceReport


def maintenance(home: Home, *, keep_last: int, dry_run: bool, as_json: bool) -> None:
    """Do it, without Prefect, and print the report.

    Raises:
        PtCoreError: a server does not answer, or MLflow cannot say what is in use; nothing is removed then.
    """
    report = maintain(home, keep_last=keep_last, dry_run=dry_run)
    if as_json:
        print_json({**report.model_dump(mode="json"), "exit_code": 0})
        return
    _show(report)


def _show(report: MaintenanceReport) -> None:
    if report.removed:
        results.print(_table(report))
    for run in report.closed:
        results.print(f"closed in MLflow: {run}", highlight=False, markup=False)
    for sentence in report.settled:
        results.print(f"settled: {sentence}", highlight=False, markup=False)
    for kept in report.kept:
        results.print(f"kept {kept.name}: {kept.why}", highlight=False, markup=False, style="dim")
    for problem in report.problems:
        results.print(problem, highlight=False, markup=False, style="yellow")
    results.print(report.sentence, highlight=False, markup=False)


def _table(report: MaintenanceReport) -> Table:
    title = "would be removed" if report.dry_run else "removed"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("what")
    table.add_column("name", overflow="fold")
    table.add_column("bytes", justify="right")
    for one in report.removed:
        table.add_row(one.kind, one.name, f"{one.size_bytes:,}")
    return table
