"""The table of variants on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table

from flows.cli.output import results
from pt_core.decision.challenge import Challenge
from pt_core.decision.compare import ComparisonRow, drop_text
from pt_core.decision.history import RunRow
from pt_core.decision.tables import challenge_text

_WIDE = 100
"""Columns in which every number fits beside the others."""
_STYLES = {"pass": "green", "fail": "red", "insufficient": "yellow", "not measured": "dim"}


def variants_table(rows: Iterable[ComparisonRow], *, title: str) -> Table:
    """Return accuracy, drop, robust accuracy, latency ratio, size and verdict of every variant; reasons go below."""
    table = Table(
        title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in ("variant", "accuracy", "drop", "robust", "ratio", "size", "verdict"):
        table.add_column(name, justify="left" if name in ("variant", "verdict") else "right", no_wrap=True)
    for row in rows:
        style = _STYLES[row.verdict] if row.verdict and row.standing == row.verdict else "cyan"
        table.add_row(
            row.variant,
            _number(row.accuracy, ".4f"),
            _drop(row),
            _number(row.robust_accuracy, ".4f"),
            _number(row.latency_ratio, ".2f"),
            _size(row.size_bytes),
            f"[{style}]{row.standing}[/]",
        )
    return table


def history_table(rows: Iterable[RunRow], *, title: str) -> Table:
    """Return the runs of a pipeline over time, one a line; notes go below."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("started", "winner", "accuracy", "reference", "ratio", "size", "passed", "samples"):
        table.add_column(name, justify="left" if name in ("started", "winner") else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.started_at[:16].replace("T", " "),
            row.winner or "[red]none[/]",
            _number(row.accuracy, ".4f"),
            _number(row.reference_accuracy, ".4f"),
            _number(row.latency_ratio, ".2f"),
            _size(row.size_bytes),
            f"{row.num_passed}/{row.num_variants}",
            f"{row.samples} {row.num_samples}",
        )
    return table


def challenge_table(challenge: Challenge) -> Table:
    """Return every number that both have, side by side."""
    text = challenge_text(challenge)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in text.header:
        is_number = name in text.numeric
        table.add_column(name.lower(), justify="right" if is_number else "left", overflow="fold")
    for line, cells in zip(challenge.lines, text.rows, strict=True):
        if line.difference is not None:
            table.add_row(line.metric, *cells[1:], style="bold" if line.low is not None else "")
    return table


def reasons(rows: Iterable[ComparisonRow]) -> list[str]:
    """Return one line a variant: why it has its verdict."""
    shown = list(rows)
    width = max(len(row.variant) for row in shown)
    return [f"{row.variant:<{width}}  {row.reason}" for row in shown]


def _drop(row: ComparisonRow) -> str:
    """Return the drop with its interval, which a narrow terminal leaves to the reasons below."""
    return drop_text(row) if results.width >= _WIDE else _number(row.accuracy_drop, ".4f")


def _number(value: float | None, shape: str) -> str:
    return "-" if value is None else format(value, shape)


def _size(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / 1024:,.0f} KiB"
