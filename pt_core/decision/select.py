"""Choose the variant to deploy: by strategy and within budgets, of those that passed and that nothing dominates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from pt_core.decision.config import SelectionConfig
from pt_core.decision.gate import WORST_FIRST
from pt_core.decision.numbers import show
from pt_core.decision.pareto import is_slower, place
from pt_core.decision.result import VariantResult

_BEST = {
    "latency": "the fastest",
    "throughput": "the one with the highest throughput",
    "size": "the smallest",
    "accuracy": "the most accurate",
}


def select(
    variants: Sequence[VariantResult], config: SelectionConfig | None = None
) -> tuple[str | None, str]:
    """Return the name of the chosen variant, or ``None``, and why in one sentence.

    Of those that can be promoted, the one that is best by the strategy wins; equals go to the lower latency
    ratio, then to the smaller payload, then to the first. One that was not timed comes after all that were.
    """
    config = config or SelectionConfig()
    passed = [variant for variant in place(variants, config) if variant.passed]
    candidates = sorted((v for v in passed if v.promotable), key=lambda v: _rank(v, config))
    if not candidates:
        return None, _why_none(variants, passed)
    winner, *others = candidates
    reason = (
        f"{winner.name} is {_what(winner, len(candidates), len(passed), config)}: {_figures(winner, config)}"
    )
    told = [reason, _margin(winner, others[0], config) if others else "", _left_out(passed)]
    return winner.name, "; ".join(filter(None, told))


def _rank(variant: VariantResult, config: SelectionConfig) -> tuple[float, ...]:
    timing, size = variant.efficiency, variant.artifact.payload_bytes if variant.artifact else 0
    drop = math.inf if variant.accuracy_drop is None else variant.accuracy_drop
    latency = timing.latency_ratio if timing else math.inf
    first = {
        "latency": latency,
        "throughput": -timing.throughput_samples_per_s if timing else math.inf,
        "size": size,
        "accuracy": drop,
    }[config.strategy]
    return first, latency, size


def _what(winner: VariantResult, num_candidates: int, num_passed: int, config: SelectionConfig) -> str:
    left = "that passed" if num_candidates == num_passed else f"left of the {num_passed} that passed"
    if num_candidates == 1:
        return f"the only one {left}"
    is_blind = config.strategy in ("latency", "throughput") and winner.efficiency is None
    best = "the smallest, as none was timed," if is_blind else _BEST[config.strategy]
    return f"{best} of the {num_candidates} {left}"


def _figures(variant: VariantResult, config: SelectionConfig) -> str:
    """Return the numbers of a variant, that of the strategy first."""
    timing = variant.efficiency
    figures = {config.strategy: _figure(variant, config)}
    if timing:
        ends = f"{show(timing.latency_ratio_low)} to {show(timing.latency_ratio_high)}"
        figures["latency"] = f"latency ratio {show(timing.latency_ratio)} ({ends})"
    figures["size"] = f"{variant.artifact.payload_bytes:,} bytes" if variant.artifact else ""
    return ", ".join(filter(None, figures.values()))


def _figure(variant: VariantResult, config: SelectionConfig) -> str:
    """Return the number that the strategy goes by; nothing if it was not measured."""
    timing = variant.efficiency
    if config.strategy == "accuracy":
        return "" if variant.accuracy_drop is None else f"accuracy drop {show(variant.accuracy_drop)}"
    if config.strategy == "size":
        return f"{variant.artifact.payload_bytes:,} bytes" if variant.artifact else ""
    if timing is None:
        return ""
    if config.strategy == "throughput":
        return f"{show(timing.throughput_samples_per_s)} samples per second"
    return show(timing.latency_ratio)


def _margin(winner: VariantResult, runner_up: VariantResult, config: SelectionConfig) -> str:
    figure = _figure(runner_up, config)
    if not figure:
        return f"{runner_up.name} was not timed" if winner.efficiency else ""
    too_close = config.strategy == "latency" and not is_slower(runner_up, winner)
    return f"next is {runner_up.name} with {figure}{', too close to tell apart' if too_close else ''}"


def _left_out(passed: Sequence[VariantResult]) -> str:
    reasons = dict.fromkeys(v.why_not_promotable for v in passed if not v.promotable)
    named = [
        f"{', '.join(v.name for v in passed if v.why_not_promotable == reason)} ({reason})"
        for reason in reasons
    ]
    return f"left out: {', '.join(named)}" if named else ""


def _why_none(variants: Sequence[VariantResult], passed: Sequence[VariantResult]) -> str:
    if passed:
        return f"none is chosen: {len(passed)} passed, {_left_out(passed)}"
    counts = Counter(variant.verdict.state for variant in variants)
    counted = ", ".join(f"{counts[state]} {state}" for state in WORST_FIRST if counts[state])
    return f"none is chosen: {counted or 'there are no variants'}"
