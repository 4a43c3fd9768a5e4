"""What the turns of benchmarks/training.py come to, as a table of medians and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np

MIN_LIKE_FOR_LIKE = 0.98
"""Least speed of ours, that of the loop by hand in the same precision being one."""


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
                "speed against plain, same precision": None if precision == "auto" else faster(precision),
                "speed against plain fp32": faster("fp32"),
                "peak_mib": statistics.median(one["peak_mib"] for one in own),
                "validation_accuracy": statistics.median(one["accuracy"] for one in own),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [
        "| subject | precision | seconds | speed, plain = 1 | speed, plain FP32 = 1 | peak MiB | accuracy |",
        "|--|--|--|--|--|--|--|",
    ]
    for row in rows:
        cells = (
            row["subject"],
            row["precision"],
            f"{row['seconds']:.2f}",
            _range(row["speed against plain, same precision"]),
            _range(row["speed against plain fp32"]),
            f"{row['peak_mib']:.0f}",
            f"{row['validation_accuracy']:.3f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _range(quartiles: list[float] | None) -> str:
    if quartiles is None:
        return ""
    low, median, high = quartiles
    return f"{median:.3f} ({low:.3f} to {high:.3f})"


BY_HAND = ("plain channels_last", "bf16-mixed")
"""The loop by hand that does what "auto" chooses on a processor with BF16."""


def judge(
    rows: list[dict[str, Any]], *, ours: str, auto: str, min_auto: float, by_hand: float, has_amx: bool
) -> list[str]:
    """Return a line for each claim: as fast as the loop by hand, faster than every library, and what "auto" gives.

    Args:
        rows: of :func:`summarise`.
        ours: our name among the subjects.
        auto: that with ``precision: auto``.
        min_auto: how many times as fast as the loop by hand in FP32 that has to be on a processor with AMX.
        by_hand: what :data:`BY_HAND` gave there, by the same measure.
        has_amx: whether this one has it.
    """
    speeds = {
        (row["subject"], row["precision"]): row["speed against plain, same precision"][1]
        for row in rows
        if row["speed against plain, same precision"]
    }
    lines = []
    for precision in dict.fromkeys(precision for _, precision in speeds):
        own = speeds.get((ours, precision))
        if own is None:
            continue
        verdict = _verdict(own >= MIN_LIKE_FOR_LIKE)
        lines.append(
            f"- {precision}: {own:.3f} of the loop by hand, at least {MIN_LIKE_FOR_LIKE:g}: {verdict}"
        )
        peers = {
            name: speed
            for (name, of), speed in speeds.items()
            if of == precision and not name.startswith(("plain", ours))
        }
        if peers:
            best = max(peers, key=lambda name: peers[name])
            verdict = _verdict(own > peers[best])
            lines.append(
                f"- {precision}: ahead of every library, {best} being next with {peers[best]:.3f}: {verdict}"
            )
    return [*lines, *_judge_auto(rows, auto=auto, min_auto=min_auto, by_hand=by_hand, has_amx=has_amx)]


def _judge_auto(
    rows: list[dict[str, Any]], *, auto: str, min_auto: float, by_hand: float, has_amx: bool
) -> Iterator[str]:
    gains = {(row["subject"], row["precision"]): row["speed against plain fp32"][1] for row in rows}
    gained, by_this_hand = gains.get((auto, "auto")), gains.get(BY_HAND)
    if gained is None:
        return
    verdict = _verdict(gained >= min_auto) if has_amx else "not judged, the processor lacks amx_bf16"
    yield f"- auto: {gained:.2f} times the loop by hand in FP32, at least {min_auto:g} with AMX: {verdict}"
    if by_this_hand is not None:
        share, least = gained / by_this_hand, min_auto / by_hand
        yield (
            f"- auto: {share:.2f} of channels_last in BF16 by hand, at least {least:.2f}, which is {min_auto:g} of the "
            f"{by_hand:g} that it gave with AMX: {_verdict(share >= least)}"
        )


def _verdict(holds: bool) -> str:
    return "holds" if holds else "MISSED"


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
    return a_checkpoint / (60 * minutes_between)
