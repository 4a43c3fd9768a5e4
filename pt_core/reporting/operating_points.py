"""Where each variant stands in accuracy, latency and size: the numbers that every picture of the three draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pt_core.decision.result import RunResult
from pt_core.decision.verdict import Check, State
from pt_core.evaluation.pairs import ACCURACY


class OperatingPoint(NamedTuple):
    """One variant that was both scored and timed."""

    name: str
    """Name of the variant."""
    ratio: float
    """Time of one call over the reference's."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end."""
    accuracy: float
    """On clean test samples, 0 to 1."""
    size_bytes: int
    """Bytes shipped."""
    state: State
    """Its verdict."""
    on_front: bool
    """Whether it is on the Pareto front of those that passed."""
    is_dominated: bool
    """Whether another that passed is as good in everything."""


def operating_points(result: RunResult) -> list[OperatingPoint]:
    """Return the variants that were both scored and timed, in the order of the run."""
    return [
        OperatingPoint(
            variant.name,
            variant.efficiency.latency_ratio,
            variant.efficiency.latency_ratio_low,
            variant.efficiency.latency_ratio_high,
            variant.evaluation.accuracy.accuracy,
            variant.artifact.payload_bytes,
            variant.verdict.state,
            variant.on_front,
            variant.dominated_by is not None,
        )
        for variant in result.variants
        if variant.efficiency and variant.evaluation and variant.artifact
    ]


def pareto_front(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Return the Pareto front, the fastest first; one that stands alone is no line."""
    found = sorted((point for point in points if point.on_front), key=lambda point: point.ratio)
    return found if len(found) > 1 else []


def noise_band(result: RunResult) -> tuple[float, float]:
    """Return the widest range of the reference's ratio to itself: differences inside are noise."""
    measured = [variant.efficiency for variant in result.variants if variant.efficiency]
    return min(e.noise_ratio_low for e in measured), max(e.noise_ratio_high for e in measured)


def accuracy_floor(result: RunResult) -> float | None:
    """Return the greatest accuracy that any rule of the gate asks for, absolute or by its drop."""
    reference = next((v for v in result.variants if v.name == result.reference), None)
    best = reference.evaluation.accuracy.accuracy if reference and reference.evaluation else None
    floors = []
    for check in (check for variant in result.variants for check in variant.verdict.checks):
        if check.metric == ACCURACY and check.rule == "at_least":
            floors.append(check.limit)
        if check.metric == ACCURACY and _is_of_reference(check, result) and best is not None:
            floors.append(best - check.limit)
    return max(floors, default=None)


def _is_of_reference(check: Check, result: RunResult) -> bool:
    return check.rule == "max_drop" and check.against in (None, result.reference)
