"""The table of variants on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from pt_core.decision.compare import ComparisonRow

_STYLES = {"pass": "green", "fail": "red", "insufficient": "yellow", "not measured": "dim"}


def variants_table(rows: Iterable[ComparisonRow], *, title: str) -> Table:
    """Return accuracy, drop, robust accuracy, latency ratio, size and verdict of every variant."""
    table = Table(title=title, title_justify="left", caption_justify="left", expand=False)
    for name in ("variant", "accuracy", "drop", "robust", "latency ratio", "size", "verdict", "reason"):
        table.add_column(name, justify="left" if name in ("variant", "verdict", "reason") else "right")
    for row in rows:
        ratio = _number(row.latency_ratio, ".2f")
        if row.latency_ratio_low is not None and row.latency_ratio_high is not None:
            ratio += f" [{row.latency_ratio_low:.2f}, {row.latency_ratio_high:.2f}]".replace("[", r"\[")
        style = _STYLES[row.verdict]
        table.add_row(
            row.variant,
            _number(row.accuracy, ".4f"),
            _number(row.accuracy_drop, "+.4f"),
            _number(row.robust_accuracy, ".4f"),
            ratio,
            "-" if row.size_bytes is None else f"{row.size_bytes / 1024:,.0f} KiB",
            f"[{style}]{row.verdict}[/]",
            row.reason,
        )
    return table


def _number(value: float | None, shape: str) -> str:
    return "-" if value is None else format(value, shape)
