"""Apply one rule of the gate to one variant's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from pt_core.decision.config import GateRule
from pt_core.decision.evidence import (
    COUNTED_SECTIONS,
    SAMPLED_SECTIONS,
    Baseline,
    Estimate,
    Evidence,
    Range,
    needs_interval,
    observe,
)
from pt_core.decision.numbers import drop, show
from pt_core.decision.verdict import Check, CheckState, RuleName, State

_BROKEN: Mapping[RuleName, str] = {
    "at_least": "{metric} {shown} is below {limit}",
    "at_most": "{metric} {shown} is above {limit}",
    "max_drop": "{metric} drops by {shown}, more than {limit}",
    "max_ratio": "{metric} is {shown} times that of {other}, more than {limit}",
}
_WHAT: Mapping[RuleName, str] = {"at_least": "", "at_most": "", "max_drop": " drop", "max_ratio": " ratio"}


class Judged(NamedTuple):
    """A check, and how to say it."""

    check: Check
    """The check."""
    clause: str
    """The number, the limit and how they stand."""


class _Case(NamedTuple):
    """One limit on one metric, and what was observed of it."""

    rule: GateRule
    kind: RuleName
    limit: float
    other: Baseline
    found: Estimate


def apply_rule(rule: GateRule, evidence: Evidence) -> tuple[Judged, ...]:
    """Return the check of a rule, several for one with a star; states are told in :func:`pt_core.decision.gate.judge`."""
    if evidence.baseline(rule) is None:
        return (Judged(unmeasured(rule, state="not applicable"), "there is no champion"),)
    if "*" not in rule.metric:
        return (_apply(rule, evidence),)
    known = {*evidence.metrics, *evidence.reference.metrics, *evidence.undefined}
    names = sorted(name for name in known if fnmatchcase(name, rule.metric))
    if not names:
        state: CheckState = "not applicable" if rule in evidence.optional else "not measured"
        return (Judged(unmeasured(rule, state=state), f"no {rule.metric} is measured"),)
    # Checked again, for what a star stands for was not known when the rule was.
    given = rule.model_dump()
    return tuple(_apply(GateRule.model_validate({**given, "metric": name}), evidence) for name in names)


def unmeasured(rule: GateRule, *, state: CheckState = "not measured") -> Check:
    """Return the check of a rule whose metric is not there."""
    kind, limit = limit_of(rule)
    return Check(metric=rule.metric, rule=kind, limit=limit, observed=None, interval=None, state=state)


def limit_of(rule: GateRule) -> tuple[RuleName, float]:
    """Return which limit a rule gives, and its value."""
    kinds: tuple[RuleName, ...] = ("at_least", "at_most", "max_drop", "max_ratio")
    return next((kind, limit) for kind in kinds if (limit := getattr(rule, kind)) is not None)


def _apply(rule: GateRule, evidence: Evidence) -> Judged:
    kind, limit = limit_of(rule)
    other = evidence.baseline(rule)
    assert other is not None
    if rule.metric in evidence.undefined:
        return _undefined(rule, evidence.undefined[rule.metric])
    found = observe(rule, kind, evidence, other)
    if found.problem:
        return Judged(unmeasured(rule), found.problem)
    case = _Case(rule, kind, limit, other, found)
    by_interval = (rule.confidence or evidence.confidence) == "interval"
    state, clause = _too_few(rule.metric, evidence) or _decide(case, evidence, by_interval=by_interval)
    check = Check(
        metric=rule.metric,
        rule=kind,
        limit=limit,
        against=other.name if kind in ("max_drop", "max_ratio") else None,
        observed=found.value,
        interval=found.interval,
        method=found.method,
        decided_by="interval" if by_interval and found.interval else "point",
        state=state,
    )
    return Judged(check, clause)


def _undefined(rule: GateRule, reason: str) -> Judged:
    # Of a slice nothing but too few samples leaves a metric without a value.
    state: CheckState = "insufficient" if rule.metric.startswith("slices/") else "not measured"
    return Judged(unmeasured(rule, state=state), f"{rule.metric} is undefined: {reason}")


def _too_few(metric: str, evidence: Evidence) -> tuple[State, str] | None:
    found = evidence.samples(metric)
    if not metric.startswith(COUNTED_SECTIONS) or (found is not None and found >= evidence.min_samples):
        return None
    counted = "an unknown number of samples" if found is None else f"{found} samples"
    return "insufficient", f"{metric} rests on {counted}, expected at least {evidence.min_samples}"


def _decide(case: _Case, evidence: Evidence, *, by_interval: bool) -> tuple[State, str]:
    value = case.found.value
    assert value is not None
    if not by_interval:
        return _say(case, _side((value, value), value, case))
    if case.found.interval is None and needs_interval(case.rule.metric, case.kind):
        unknown = f"{case.rule.metric} has no interval, since answers per sample were not compared"
        return "insufficient", f"{unknown}; run again, or set confidence: point"
    side = _side(case.found.interval or (value, value), value, case)
    return _say(case, side) if side != "unclear" else ("insufficient", _unclear(case, evidence))


def _side(interval: Range, value: float, case: _Case) -> Literal["kept", "broken", "unclear"]:
    """Return on which side of the limit the whole interval lies; a value equal to the limit keeps it."""
    low, high = interval
    if case.kind == "at_least":
        low, high, value, limit = -high, -low, -value, -case.limit
    else:
        limit = drop(case.limit, 0) if case.kind == "max_drop" else case.limit
    if high <= limit:
        return "kept"
    return "broken" if low >= limit and value > limit else "unclear"


def _say(case: _Case, side: Literal["kept", "broken", "unclear"]) -> tuple[State, str]:
    metric, limit = case.rule.metric, f"{case.limit:g}"
    if side == "broken":
        shown = _shown(case)
        clause = _BROKEN[case.kind].format(metric=metric, shown=shown, limit=limit, other=case.other.name)
        return "fail", clause + _against(case)
    section, _, name = metric.rpartition("/")
    label = name if section == "accuracy" else metric
    allowed = f"at {'least' if case.kind == 'at_least' else 'most'} {limit}"
    return "pass", f"{label}{_WHAT[case.kind]} {_shown(case)} ({allowed}){_against(case)}"


def _shown(case: _Case) -> str:
    """Return the value, and for a drop its interval."""
    assert case.found.value is not None
    shown = show(case.found.value, beside=case.limit)
    ends = case.found.interval
    if case.kind != "max_drop" or ends is None or ends[0] == ends[1]:
        return shown
    return f"{shown} ({show(ends[0], beside=case.limit)} to {show(ends[1], beside=case.limit)})"


def _against(case: _Case) -> str:
    return f" against {case.other.name}" if case.rule.against == "champion" else ""


def _unclear(case: _Case, evidence: Evidence) -> str:
    """Return where the interval stands around the limit, what the samples can tell, and what to do."""
    metric, limit, ends = case.rule.metric, case.limit, case.found.interval
    assert ends is not None
    low, high = (show(end, beside=limit) for end in ends)
    if not metric.startswith(SAMPLED_SECTIONS):
        what = f"{_WHAT[case.kind].strip()} of {metric}" if _WHAT[case.kind] else metric
        return f"{what} is between {low} and {high}, on both sides of {limit:g}"
    assert case.found.value is not None
    on = f"on {evidence.samples(metric)} samples"
    if case.kind != "max_drop":
        value = show(case.found.value, beside=limit)
        remedy = "lower" if case.kind == "at_least" else "higher"
        return f"{metric} {value} ({low} to {high}) {on}, and {limit:g} lies inside; add test samples or set a {remedy} limit"
    can_tell = case.found.detectable
    smallest = f" (these can tell a drop of {show(can_tell)} or more)" if can_tell is not None else ""
    return (
        f"{metric} drops by {_shown(case)} {on}{smallest}{_against(case)}, and the limit {limit:g} lies inside; "
        "add test samples or widen the limit"
    )
