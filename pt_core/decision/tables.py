"""Tables of comparisons as plain text: CSV of every field, and Markdown of what people read first."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from pt_core.decision.challenge import Challenge
from pt_core.decision.compare import ComparisonRow, drop_text, human_bytes
from pt_core.decision.history import RunRow
from pt_core.record import Record

_UNDEFINED = "-"


class TextTable(NamedTuple):
    """Cells of text under their header."""

    header: Sequence[str]
    """Names of the columns."""
    rows: Sequence[Sequence[str]]
    """Cells, each one line without markup."""
    numeric: frozenset[str] = frozenset()
    """Columns of numbers, which stand to the right."""


def to_csv(rows: Sequence[Record]) -> str:
    """Return records of one type as CSV with a header; undefined is an empty cell."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(type(rows[0]).model_fields), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.model_dump() for row in rows)
    return text.getvalue()


def to_markdown(table: TextTable) -> str:
    """Return a GitHub-flavoured table."""
    rule = ["---:" if name in table.numeric else "---" for name in table.header]
    return "\n".join(f"| {' | '.join(line)} |" for line in [table.header, rule, *table.rows]) + "\n"


def variants_text(rows: Sequence[ComparisonRow]) -> TextTable:
    """Return the variants of one or several runs; the run is a column only where there are several."""
    several_runs = len({row.run for row in rows}) > 1
    robust_metrics = {row.robust_metric for row in rows if row.robust_metric}
    robust = f"Robust ({_short(robust_metrics.pop())})" if len(robust_metrics) == 1 else "Robust"
    numeric = ("Accuracy", "Drop", robust, "Latency ratio", "Size", "Memory")
    header = ["Variant", "Steps", *numeric, "Verdict", "Reason"]
    cells = [_variant_cells(row, name_metric=robust == "Robust") for row in rows]
    if several_runs:
        header = ["Run", *header]
        cells = [[escaped(row.run), *line] for row, line in zip(rows, cells, strict=True)]
    return TextTable(header, cells, frozenset(numeric))


def history_text(rows: Sequence[RunRow]) -> TextTable:
    """Return the runs of a pipeline over time."""
    numeric = ("Accuracy", "Reference", "Latency ratio", "Size")
    header = ["Run", "Started", "Winner", *numeric, "Passed", "Samples", "Note"]
    return TextTable(header, [_run_cells(row) for row in rows], frozenset(numeric))


def challenge_text(challenge: Challenge) -> TextTable:
    """Return every number of champion and challenger side by side."""
    numeric = ("Champion", "Challenger", "Difference")
    cells = [
        [
            f"`{line.metric}`",
            _plain(line.champion),
            _plain(line.challenger),
            _plain(line.difference) + _ends(line.low, line.high),
        ]
        for line in challenge.lines
    ]
    return TextTable(["Metric", *numeric], cells, frozenset(numeric))


def escaped(text: str) -> str:
    """Keep a cell in its cell: one line, no bar, no markup."""
    found = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return found.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def _variant_cells(row: ComparisonRow, *, name_metric: bool) -> list[str]:
    name = f"**{escaped(row.variant)}**" if row.chosen else escaped(row.variant)
    robust = _number(row.robust_accuracy)
    if name_metric and row.robust_metric:
        robust += f" ({_short(row.robust_metric)})"
    return [
        name,
        escaped(row.steps) or _UNDEFINED,
        _number(row.accuracy),
        drop_text(row),
        robust,
        _ratio(row),
        human_bytes(row.size_bytes),
        human_bytes(row.peak_memory_bytes),
        row.standing,
        escaped(row.reason),
    ]


def _run_cells(row: RunRow) -> list[str]:
    return [
        escaped(row.run),
        row.started_at,
        escaped(row.winner or "none"),
        _number(row.accuracy),
        _number(row.reference_accuracy),
        _ratio(row),
        human_bytes(row.size_bytes),
        f"{row.num_passed} of {row.num_variants}",
        f"{row.samples}, {row.num_samples}",
        escaped(row.note) or _UNDEFINED,
    ]


def _ratio(row: ComparisonRow | RunRow) -> str:
    if row.latency_ratio is None or row.latency_ratio_low is None or row.latency_ratio_high is None:
        return _UNDEFINED
    return f"{row.latency_ratio:.2f}{_ends(row.latency_ratio_low, row.latency_ratio_high, shape='.2f')}"


def _ends(low: float | None, high: float | None, *, shape: str = ".4f") -> str:
    return "" if low is None or high is None else f" ({low + 0.0:{shape}} to {high + 0.0:{shape}})"


def _number(value: float | None) -> str:
    return _UNDEFINED if value is None else f"{value + 0.0:.4f}"


def _plain(value: float | None) -> str:
    """Return a number of any size: a share, a time, or a count of bytes."""
    if value is None:
        return _UNDEFINED
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value + 0.0:.4f}"


def _short(metric: str) -> str:
    return metric.rpartition("/")[2].replace("_", " ")
