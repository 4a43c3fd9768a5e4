"""Place the variants that passed: which are over budget, and which are no better than another on anything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pt_core.decision.config import SelectionConfig
from pt_core.decision.numbers import finite, show
from pt_core.decision.result import VariantResult


def place(variants: Sequence[VariantResult], config: SelectionConfig) -> tuple[VariantResult, ...]:
    """Return the variants, those that passed with their budgets and with what dominates them.

    One is dominated by another that passed within budget, if its accuracy drop, its latency and its size are
    none better and one of them is worse. A latency is worse only if the two intervals of the ratios do not
    overlap and the ratios differ by more than those of the reference against itself. Nothing can be dominated
    in a circle, so that something within budget is always left.
    """
    budgeted = [v.model_copy(update={"over_budget": _over_budget(v, config)}) for v in variants]
    rivals = [v for v in budgeted if v.passed and not v.over_budget]
    dominators = {v.name: [rival for rival in rivals if dominates(rival, v)] for v in budgeted if v.passed}
    return tuple(
        v.model_copy(update={"dominated_by": _first(dominators.get(v.name, ()), dominators)})
        for v in budgeted
    )


def dominates(one: VariantResult, other: VariantResult) -> bool:
    """Return whether ``other`` is better in nothing than ``one``, and worse in something."""
    drops, sizes = (_drop(one), _drop(other)), (_size(one), _size(other))
    is_no_worse = drops[0] <= drops[1] and sizes[0] <= sizes[1] and not is_slower(one, other)
    is_better = drops[0] < drops[1] or sizes[0] < sizes[1] or is_slower(other, one)
    return is_no_worse and is_better


def is_slower(one: VariantResult, other: VariantResult) -> bool:
    """Return whether one takes longer than the other beyond all noise; what was not timed is slower than what was."""
    ours, theirs = one.efficiency, other.efficiency
    if ours is None or theirs is None:
        return ours is None and theirs is not None
    noise = max(end for t in (ours, theirs) for end in (t.noise_ratio_high, 1 / t.noise_ratio_low))
    return (
        ours.latency_ratio_low > theirs.latency_ratio_high
        and ours.latency_ratio > theirs.latency_ratio * noise
    )


def _first(dominators: Iterable[VariantResult], all_dominators: dict[str, list[VariantResult]]) -> str | None:
    """Return a dominator's name, rather one that is not dominated itself."""
    names = sorted((bool(all_dominators[v.name]), place, v.name) for place, v in enumerate(dominators))
    return names[0][2] if names else None


def _over_budget(variant: VariantResult, config: SelectionConfig) -> tuple[str, ...]:
    if not variant.passed:
        return ()
    limits = {
        "latency_ms_p95": config.max_latency_ms_p95,
        "size_bytes": config.max_size_bytes,
        "peak_memory_bytes": config.max_peak_memory_bytes,
        "throughput_samples_per_s": config.min_throughput_samples_per_s,
    }
    found = (_excess(variant, name, limit) for name, limit in limits.items() if limit is not None)
    return tuple(clause for clause in found if clause)


def _excess(variant: VariantResult, name: str, limit: float) -> str:
    value = finite(variant.metrics.get(f"efficiency/{name}"))
    if value is None:
        return f"{name} was not measured"
    is_least = name.startswith("throughput")
    if value >= limit if is_least else value <= limit:
        return ""
    bound = f"{limit:,.0f}" if limit >= 1000 else f"{limit:g}"
    return f"{name} {show(value, beside=limit)} is {'below' if is_least else 'above'} {bound}"


def _drop(variant: VariantResult) -> float:
    return math.inf if variant.accuracy_drop is None else variant.accuracy_drop


def _size(variant: VariantResult) -> float:
    return variant.artifact.payload_bytes if variant.artifact else math.inf
