"""What the turns of benchmarks/training.py come to, as a table of medians and ratios."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table


def summarise(found: list[dict[str, Any]], subjects: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the medians of each subject, with its speed as a ratio to the loop by hand in the same round.

    Args:
        found: what each turn measured.
        subjects: name and precision of each, in the order of the table.
    """
    seconds = {(one["round"], one["subject"], one["precision"]): one["seconds"] for one in found}
    rounds = sorted({one["round"] for one in found})
    rows = []
    for subject, precision in subjects:
        own = [one for one in found if (one["subject"], one["precision"]) == (subject, precision)]

        def faster(than: str, subject: str = subject, precision: str = precision) -> list[float]:
            ratios = [
                seconds[number, "plain", than] / seconds[number, subject, precision] for number in rounds
            ]
            return [float(quartile) for quartile in np.percentile(ratios, (25, 50, 75))]

        rows.append(
            {
                "subject": subject,
                "precision": precision,
                "seconds": statistics.median(one["seconds"] for one in own),
                "best against plain's best, same precision": None
                if precision == "auto"
                else _best(found, "plain", precision) / _best(found, subject, precision),
                "speed against plain, same precision": None if precision == "auto" else faster(precision),
                "speed against plain fp32": faster("fp32"),
                "peak_mib": statistics.median(one["peak_mib"] for one in own),
                "validation_accuracy": statistics.median(one["accuracy"] for one in own),
            }
        )
    return rows


def _best(found: list[dict[str, Any]], subject: str, precision: str) -> float:
    """Return the seconds of a subject's fastest turn: what others do on the machine only ever makes it slower."""
    own = (one for one in found if (one["subject"], one["precision"]) == (subject, precision))
    return float(min(one["seconds"] for one in own))


def show(name: str, rows: list[dict[str, Any]]) -> None:
    """Print one table."""
    columns = (
        "subject",
        "precision",
        "seconds",
        "x plain, like for like",
        "best turns",
        "x plain fp32",
        "peak MiB",
        "accuracy",
    )
    table = Table(*columns, title=name)
    for row in rows:
        best = row["best against plain's best, same precision"]
        table.add_row(
            row["subject"],
            row["precision"],
            f"{row['seconds']:.2f}",
            _range(row["speed against plain, same precision"]),
            "" if best is None else f"{best:.3f}",
            _range(row["speed against plain fp32"]),
            f"{row['peak_mib']:.0f}",
            f"{row['validation_accuracy']:.3f}",
        )
    Console(width=140).print(table)


def _range(quartiles: list[float] | None) -> str:
    if quartiles is None:
        return ""
    low, median, high = quartiles
    return f"{median:.3f} ({low:.3f} to {high:.3f})"


def checkpoint_cost(
    found: list[dict[str, Any]], *, without: str, with_two: str, minutes_between: float
) -> float:
    """Return what a durable checkpoint costs in FP32 as a share of the time between two.

    Args:
        found: what each turn measured.
        without: the subject that writes none on its way.
        with_two: the one that writes two.
        minutes_between: the cadence.
    """
    seconds = {(one["round"], one["subject"]): one["seconds"] for one in found if one["precision"] == "fp32"}
    more = [
        seconds[number, with_two] - seconds[number, without] for number, name in seconds if name == without
    ]
    a_checkpoint = float(statistics.median(more)) / 2
    share = a_checkpoint / (60 * minutes_between)
    print(f"a durable checkpoint costs {a_checkpoint:.2f} s: {share:.2%} of the default cadence\n")
    return share
