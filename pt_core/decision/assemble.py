"""From a measured variant and the measured reference to a judged variant."""

from __future__ import annotations

from collections.abc import Sequence

from pt_core.decision.config import GateConfig
from pt_core.decision.evidence import LATENCY_RATIO, Baseline, Range
from pt_core.decision.gate import judge, not_measured
from pt_core.decision.numbers import drop
from pt_core.decision.result import MeasuredVariant, VariantResult
from pt_core.decision.statistics import PairedDrop, wilson
from pt_core.decision.verdict import Verdict
from pt_core.errors import ConfigError
from pt_core.evaluation.report import EfficiencyReport, metrics
from pt_core.evaluation.shares import sample_counts, shares

_MAX_PROBLEM = 300
_TIMES = (
    "latency_ms_p50",
    "latency_ms_p95",
    "latency_ms_p99",
    "throughput_samples_per_s",
    "best_throughput_samples_per_s",
)
_OF_A_START = ("efficiency/cold_start_s", "efficiency/peak_memory_bytes")


def judge_variant(
    variant: MeasuredVariant,
    *,
    reference: MeasuredVariant,
    config: GateConfig,
    drops: Sequence[PairedDrop] = (),
    champion: MeasuredVariant | None = None,
) -> VariantResult:
    """Flatten what was measured, apply the gate, and return the judged variant.

    Args:
        variant: what is judged.
        reference: what its drops are measured against.
        config: the policy.
        drops: how far it falls behind the reference and the champion, each under its name.
        champion: what is deployed now; ``None`` if nothing is. Its name differs from the reference's.

    Raises:
        ConfigError: the champion is called like the reference, so that their drops could not be told apart.
    """
    if champion is not None and champion.name == reference.name:
        raise ConfigError(
            f"champion: {champion.name} is the name of the reference too, and drops are told apart by name; "
            "rename one of them"
        )
    measured = {name: getattr(variant, name) for name in MeasuredVariant.model_fields}
    return VariantResult(
        **measured,
        metrics=flat_metrics(variant),
        accuracy_drop=_accuracy_drop(variant, reference),
        drops=tuple(drops),
        verdict=_verdict(variant, reference, config, drops, champion),
    )


def flat_metrics(variant: MeasuredVariant) -> dict[str, float]:
    """Return every number of a variant by its flat name; nothing for one that was not built."""
    if variant.artifact is None:
        return {}
    return metrics(variant.artifact, variant.evaluation, variant.efficiency)


def undefined_metrics(variant: MeasuredVariant) -> dict[str, str]:
    """Return why metrics that were asked for have no value, by flat name."""
    evaluation, timing = variant.evaluation, variant.efficiency
    found = (*evaluation.accuracy.undefined, *evaluation.undefined) if evaluation else ()
    not_started = dict.fromkeys(_OF_A_START, timing.start_reason) if timing else {}
    not_counted = {"efficiency/reference_flops": timing.flops_reason} if timing else {}
    reasons = {one.metric: one.reason for one in found} | not_started | not_counted
    return {metric: reason for metric, reason in reasons.items() if reason}


def _verdict(
    variant: MeasuredVariant,
    reference: MeasuredVariant,
    config: GateConfig,
    drops: Sequence[PairedDrop],
    champion: MeasuredVariant | None,
) -> Verdict:
    artifact, evaluation = variant.artifact, variant.evaluation
    if variant.state != "built" or artifact is None:
        return not_measured(variant.name, reference.name, variant.problem or "it was not built", config)
    if artifact.not_run is not None:
        # Whatever its size or parity, nothing that was never run may pass.
        return not_measured(
            variant.name, reference.name, artifact.not_run, config, artifact_digest=artifact.digest
        )
    return judge(
        variant=variant.name,
        artifact_digest=artifact.digest,
        metrics=flat_metrics(variant),
        reference=_baseline(reference, drops),
        champion=_baseline(champion, drops) if champion else None,
        intervals=_intervals(variant),
        num_samples=evaluation.accuracy.num_samples if evaluation else None,
        counts=sample_counts(evaluation) if evaluation else {},
        undefined=undefined_metrics(variant),
        config=config,
    )


def _baseline(other: MeasuredVariant, drops: Sequence[PairedDrop]) -> Baseline:
    own = {found.metric: found for found in drops if found.against == other.name}
    return Baseline(other.name, flat_metrics(other), _intervals(other), own, _one_line(other.problem))


def _one_line(problem: str | None) -> str:
    """Return a problem as a clause; messages of libraries may be long."""
    return " ".join((problem or "").split())[:_MAX_PROBLEM]


def _intervals(variant: MeasuredVariant) -> dict[str, Range]:
    scored = shares(variant.evaluation) if variant.evaluation else {}
    found = {metric: wilson(round(value * n), n) for metric, (value, n) in scored.items()}
    return found | (_speeds(variant.efficiency) if variant.efficiency else {})


def _speeds(timing: EfficiencyReport) -> dict[str, Range]:
    """Return the intervals of the ratio and, as wide as the noise, of times that were not compared round by round."""
    low, high = timing.judged_range
    factor = max(timing.latency_ratio_low / low, high / timing.latency_ratio_high)
    given = {name: getattr(timing, name) for name in _TIMES}
    absolute = {f"efficiency/{n}": (value / factor, value * factor) for n, value in given.items() if value}
    return absolute | {LATENCY_RATIO: (low, high)}


def _accuracy_drop(variant: MeasuredVariant, reference: MeasuredVariant) -> float | None:
    if variant.evaluation is None or reference.evaluation is None:
        return None
    return drop(reference.evaluation.accuracy.accuracy, variant.evaluation.accuracy.accuracy)
