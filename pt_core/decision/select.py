"""Choose the variant to deploy: the fastest of those that passed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pt_core.artifacts.artifact import Artifact
from pt_core.decision.gate import WORST_FIRST
from pt_core.decision.numbers import show
from pt_core.decision.result import VariantResult
from pt_core.evaluation.report import EfficiencyReport


def select(variants: Sequence[VariantResult]) -> tuple[str | None, str]:
    """Return the name of the chosen variant, or ``None``, and why in one sentence.

    Of the variants that passed, the one with the lowest latency ratio wins; then the one with the smaller
    payload, then the first. One that was not timed comes after all that were.
    """
    passed = [(variant, variant.artifact) for variant in variants if variant.artifact and _passed(variant)]
    if not passed:
        return None, _why_none(variants)
    ranked = sorted(passed, key=lambda pair: (*_speed(pair[0].efficiency), pair[1].payload_bytes))
    winner, artifact = ranked[0]
    runner_up = ranked[1][0] if len(ranked) > 1 else None
    return winner.name, _why(winner, artifact, runner_up=runner_up, num_passed=len(passed))


def _passed(variant: VariantResult) -> bool:
    return variant.state == "built" and variant.verdict.state == "pass"


def _speed(timing: EfficiencyReport | None) -> tuple[bool, float]:
    return timing is None, timing.latency_ratio if timing else 0.0


def _why(
    winner: VariantResult, artifact: Artifact, *, runner_up: VariantResult | None, num_passed: int
) -> str:
    size = f"{artifact.payload_bytes:,} bytes"
    timing = winner.efficiency
    if timing is None:
        return f"{winner.name} is the smallest that passed, {size}; none of the {num_passed} was timed"
    measured = (
        f"latency ratio {show(timing.latency_ratio)} "
        f"({show(timing.latency_ratio_low)} to {show(timing.latency_ratio_high)}), {size}"
    )
    if runner_up is None:
        return f"{winner.name} is the only one that passed: {measured}"
    return f"{winner.name} is the fastest of the {num_passed} that passed: {measured}{_margin(timing, runner_up)}"


def _margin(timing: EfficiencyReport, runner_up: VariantResult) -> str:
    other = runner_up.efficiency
    if other is None:
        return f"; {runner_up.name} was not timed"
    overlaps = other.latency_ratio_low <= timing.latency_ratio_high
    return (
        f"; next is {runner_up.name} with {show(other.latency_ratio)}"
        f"{', too close to tell apart' if overlaps else ''}"
    )


def _why_none(variants: Sequence[VariantResult]) -> str:
    counts = Counter(variant.verdict.state for variant in variants)
    counted = ", ".join(f"{counts[state]} {state}" for state in WORST_FIRST if counts[state])
    return f"none is chosen: {counted or 'there are no variants'}"
