"""What a rule is applied to: the numbers of a variant, of what it is compared with, and the intervals around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pt_core.decision.config import Confidence, GateRule
from pt_core.decision.numbers import drop, finite, show
from pt_core.decision.statistics import PairedDrop
from pt_core.decision.verdict import Method, RuleName

Range = tuple[float, float]

SAMPLED_SECTIONS = ("accuracy/", "robustness/", "slices/")
"""Metrics of these rest on test samples, and have an interval where one is known."""
COUNTED_SECTIONS = (*SAMPLED_SECTIONS, "custom/")
"""Metrics of these say nothing on a handful of samples."""

LATENCY_RATIO = "efficiency/latency_ratio"
"""The one metric of speed that was compared round by round."""

_SHARES = ("accuracy", "top_k_accuracy")
_WITHOUT_DROP_INTERVAL = ("roc_auc_macro", "average_precision_macro")
_AT_THRESHOLD = ("precision_at_", "f1_at_")
"""Metrics at a threshold that are no share of samples."""


class Baseline(NamedTuple):
    """What a variant is compared with."""

    name: str
    """Its name."""
    metrics: Mapping[str, float]
    """Its numbers by flat name."""
    intervals: Mapping[str, Range] = {}
    """Intervals of them, where measured."""
    drops: Mapping[str, PairedDrop] = {}
    """How far the variant falls behind it, by flat name."""
    problem: str = ""
    """Why numbers of it are missing, where that is known."""


class Evidence(NamedTuple):
    """What is known of a variant."""

    metrics: Mapping[str, float]
    """The variant's numbers by flat name."""
    intervals: Mapping[str, Range]
    """95 % intervals of them, where measured."""
    reference: Baseline
    """The reference."""
    champion: Baseline | None
    """The champion; ``None`` if there is none."""
    counts: Mapping[str, int]
    """Samples behind a metric, where they are not ``num_samples``."""
    num_samples: int | None
    """Samples behind accuracy and robustness."""
    min_samples: int
    """How many of them are enough."""
    confidence: Confidence
    """What decides where a rule does not say."""
    optional: Sequence[GateRule] = ()
    """Rules of a preset: with a star they ask for nothing that was not measured."""
    undefined: Mapping[str, str] = {}
    """Why metrics of the variant that were asked for have no value, by flat name."""

    def baseline(self, rule: GateRule) -> Baseline | None:
        """Return what a rule compares with."""
        return self.champion if rule.against == "champion" else self.reference

    def samples(self, metric: str) -> int | None:
        """Return how many samples a metric rests on; of a slice nothing but its own count tells."""
        return self.counts.get(metric, None if metric.startswith("slices/") else self.num_samples)


class Estimate(NamedTuple):
    """What was observed for a rule."""

    value: float | None
    """The metric, its drop or its ratio; ``None`` if it is missing or not finite."""
    interval: Range | None = None
    """Around it."""
    method: Method | None = None
    """Where the interval comes from."""
    detectable: float | None = None
    """Smallest drop that the samples can tell from none."""
    problem: str = ""
    """Why the estimate cannot be used, or nothing."""


def observe(rule: GateRule, kind: RuleName, evidence: Evidence, other: Baseline) -> Estimate:
    """Return the observed value with its interval, or why there is none that can be used."""
    metric = rule.metric
    if kind == "max_drop":
        found = _drop(metric, evidence, other)
    elif kind == "max_ratio":
        found = _ratio(metric, evidence, other)
    else:
        interval = evidence.intervals.get(metric)
        found = Estimate(finite(evidence.metrics.get(metric)), interval, _method(metric, interval))
    return found._replace(problem=_problem(metric, kind, found, evidence, other))


def needs_interval(metric: str, kind: RuleName) -> bool:
    """Return whether an interval is always to be had, so that one that is missing must not pass unseen."""
    name = metric.rpartition("/")[2]
    if not metric.startswith(SAMPLED_SECTIONS):
        return False
    if kind == "max_drop":
        in_slice = metric.startswith("slices/") and name != "accuracy"
        return not (in_slice or name in _WITHOUT_DROP_INTERVAL or name.startswith(_AT_THRESHOLD))
    return name in _SHARES or metric.startswith("robustness/")


def _drop(metric: str, evidence: Evidence, other: Baseline) -> Estimate:
    value, theirs = finite(evidence.metrics.get(metric)), finite(other.metrics.get(metric))
    if value is None or theirs is None:
        return Estimate(None)
    paired = other.drops.get(metric)
    if paired is None:
        return Estimate(finite(drop(theirs, value)))
    interval = (drop(paired.low, 0), drop(paired.high, 0))
    return Estimate(drop(theirs, value), interval, paired.method, paired.detectable_drop)


def _ratio(metric: str, evidence: Evidence, other: Baseline) -> Estimate:
    value, theirs = finite(evidence.metrics.get(metric)), finite(other.metrics.get(metric))
    if value is None or theirs is None or min(value, theirs) <= 0:
        return Estimate(None)
    ours, ends = evidence.intervals.get(metric), other.intervals.get(metric)
    # Dividing the ends is wider than the truth, never narrower.
    interval = (ours[0] / ends[1], ours[1] / ends[0]) if ours and ends and min(ends) > 0 else None
    return Estimate(finite(value / theirs), interval, _method(metric, interval))


def _method(metric: str, interval: Range | None) -> Method | None:
    if interval is None:
        return None
    if metric.startswith(SAMPLED_SECTIONS):
        return "wilson"
    return "rounds" if metric == LATENCY_RATIO else "noise"


def _problem(metric: str, kind: RuleName, found: Estimate, evidence: Evidence, other: Baseline) -> str:
    if found.value is None:
        values = (finite(evidence.metrics.get(metric)), finite(other.metrics.get(metric)))
        if kind == "max_ratio" and None not in values:
            return f"{metric} has no ratio: {values[0]:g} and {values[1]:g}, expected two values above 0"
        is_there = finite(evidence.metrics.get(metric)) is not None
        compares = kind in ("max_drop", "max_ratio")
        whose = f" of {_role(evidence, other)}" if is_there and compares else ""
        why = f": {other.problem}" if whose and other.problem else ""
        return f"{metric}{whose} is missing or not finite{why}"
    if found.interval is None:
        return ""
    low, high = found.interval
    is_sound = finite(low) is not None and finite(high) is not None and low <= found.value <= high
    return (
        "" if is_sound else f"{metric} {show(found.value)} does not lie in its interval {low:g} to {high:g}"
    )


def _role(evidence: Evidence, other: Baseline) -> str:
    return "the champion" if other is evidence.champion else "the reference"
