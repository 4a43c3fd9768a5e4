"""pt-pipeline doctor: what this machine can do, and what stands in the way."""

from __future__ import annotations

from rich.table import Table

from flows.cli.output import print_json, results
from flows.diagnose import Finding, diagnose
from flows.home import Home

_MARKS = {"ok": "[green]✓[/]", "missing": "[yellow]-[/]", "conflict": "[red]✗[/]"}


def doctor(home: Home, *, as_json: bool) -> None:
    """Print every finding, grouped by section."""
    findings = diagnose(home)
    if as_json:
        print_json([finding.model_dump(mode="json") for finding in findings])
        return
    for section in dict.fromkeys(finding.section for finding in findings):
        results.print(_section(section, [f for f in findings if f.section == section]))


def _section(name: str, findings: list[Finding]) -> Table:
    table = Table(title=name, title_justify="left", show_header=False, box=None, pad_edge=False)
    for finding in findings:
        table.add_row(_MARKS[finding.state], finding.name, finding.detail)
    return table
