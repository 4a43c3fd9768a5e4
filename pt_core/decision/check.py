"""Apply one rule of the gate to one variant's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pt_core.decision.config import GateRule
from pt_core.decision.numbers import drop, finite, show
from pt_core.decision.verdict import Check, State

RuleName = Literal["at_least", "at_most", "max_drop"]
Range = tuple[float, float]

_SAMPLED_SECTIONS = ("accuracy/", "robustness/")
_BROKEN: Mapping[RuleName, str] = {
    "at_least": "{metric} {shown} is below {limit}",
    "at_most": "{metric} {shown} is above {limit}",
    "max_drop": "{metric} drops by {shown}, more than {limit}",
}


class Evidence(NamedTuple):
    """What a rule is applied to."""

    metrics: Mapping[str, float]
    """The variant's numbers by flat name."""
    reference_metrics: Mapping[str, float]
    """The reference's."""
    intervals: Mapping[str, Range]
    """95 % intervals of the variant's metrics, where measured."""
    num_samples: int | None
    """Samples behind accuracy and robustness."""
    min_samples: int
    """How many of them are enough."""


class Judged(NamedTuple):
    """A check, and how to say it."""

    check: Check
    """The check."""
    clause: str
    """The number, the limit and how they stand."""


def apply_rule(rule: GateRule, evidence: Evidence) -> Judged:
    """Return the check of one rule; its state is told in :func:`pt_core.decision.gate.judge`."""
    kind, limit = limit_of(rule)
    bound = drop(limit, 0) if kind == "max_drop" else limit
    observed = _observe(rule.metric, kind, evidence)
    interval = _interval(rule.metric, kind, evidence)
    problem = _unusable(rule.metric, kind, observed, interval, evidence)
    if observed is None or problem:
        return Judged(unmeasured(rule), problem)
    state, clause = _too_few(rule.metric, evidence) or _compare(rule.metric, kind, bound, observed, interval)
    check = Check(
        metric=rule.metric, rule=kind, limit=limit, observed=observed, interval=interval, state=state
    )
    return Judged(check, clause)


def unmeasured(rule: GateRule) -> Check:
    """Return the check of a rule whose metric is not there."""
    kind, limit = limit_of(rule)
    return Check(
        metric=rule.metric, rule=kind, limit=limit, observed=None, interval=None, state="not measured"
    )


def limit_of(rule: GateRule) -> tuple[RuleName, float]:
    """Return which limit a rule gives, and its value."""
    if rule.at_least is not None:
        return "at_least", rule.at_least
    if rule.at_most is not None:
        return "at_most", rule.at_most
    assert rule.max_drop is not None
    return "max_drop", rule.max_drop


def _observe(metric: str, kind: RuleName, evidence: Evidence) -> float | None:
    value = finite(evidence.metrics.get(metric))
    if kind != "max_drop" or value is None:
        return value
    reference = finite(evidence.reference_metrics.get(metric))
    return None if reference is None else finite(drop(reference, value))


def _interval(metric: str, kind: RuleName, evidence: Evidence) -> Range | None:
    if metric not in evidence.intervals:
        return None
    low, high = evidence.intervals[metric]
    reference = evidence.reference_metrics.get(metric)
    if kind != "max_drop" or reference is None:
        return low, high
    return drop(reference, high), drop(reference, low)


def _unusable(
    metric: str, kind: RuleName, observed: float | None, interval: Range | None, evidence: Evidence
) -> str:
    """Return why the check cannot be made, or nothing."""
    if observed is None:
        is_there = finite(evidence.metrics.get(metric)) is not None
        whose = " of the reference" if is_there and kind == "max_drop" else ""
        return f"{metric}{whose} is missing or not finite"
    if interval is None:
        return ""
    low, high = interval
    is_sound = finite(low) is not None and finite(high) is not None and low <= observed <= high
    return "" if is_sound else f"{metric} {show(observed)} does not lie in its interval {low:g} to {high:g}"


def _too_few(metric: str, evidence: Evidence) -> tuple[State, str] | None:
    found = evidence.num_samples
    if not metric.startswith(_SAMPLED_SECTIONS) or (found is not None and found >= evidence.min_samples):
        return None
    counted = "an unknown number of samples" if found is None else f"{found} samples"
    return "insufficient", f"{metric} rests on {counted}, expected at least {evidence.min_samples}"


def _compare(
    metric: str, kind: RuleName, limit: float, observed: float, interval: Range | None
) -> tuple[State, str]:
    if interval and interval[0] < limit < interval[1]:
        low, high = (show(end, beside=limit) for end in interval)
        what = f"drop of {metric}" if kind == "max_drop" else metric
        return "insufficient", f"{what} is between {low} and {high}, on both sides of {limit:g}"
    shown = show(observed, beside=limit)
    broken = not (observed >= limit) if kind == "at_least" else not (observed <= limit)
    if broken:
        return "fail", _BROKEN[kind].format(metric=metric, shown=shown, limit=f"{limit:g}")
    section, _, name = metric.rpartition("/")
    label = name if section == "accuracy" else metric
    side = "at least" if kind == "at_least" else "at most"
    return "pass", f"{label}{' drop' if kind == 'max_drop' else ''} {shown} ({side} {limit:g})"
