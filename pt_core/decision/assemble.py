"""From a measured variant and the measured reference to a judged variant."""

from __future__ import annotations

from pt_core.decision.config import GateConfig
from pt_core.decision.gate import judge, not_measured
from pt_core.decision.numbers import drop
from pt_core.decision.result import MeasuredVariant, VariantResult
from pt_core.evaluation.report import metrics


def judge_variant(
    variant: MeasuredVariant, *, reference: MeasuredVariant, config: GateConfig
) -> VariantResult:
    """Flatten what was measured, apply the gate, and return the judged variant."""
    found = flat_metrics(variant)
    artifact = variant.artifact
    if variant.state != "built" or artifact is None:
        verdict = not_measured(variant.name, reference.name, variant.problem or "it was not built", config)
    elif artifact.not_run is not None:
        # Whatever its size or parity, nothing that was never run may pass.
        verdict = not_measured(
            variant.name, reference.name, artifact.not_run, config, artifact_digest=artifact.digest
        )
    else:
        verdict = judge(
            variant=variant.name,
            artifact_digest=artifact.digest,
            metrics=found,
            reference=reference.name,
            reference_metrics=flat_metrics(reference),
            intervals=_intervals(variant),
            num_samples=variant.evaluation.accuracy.num_samples if variant.evaluation else None,
            config=config,
        )
    return VariantResult(
        **dict(variant), metrics=found, accuracy_drop=_accuracy_drop(variant, reference), verdict=verdict
    )


def flat_metrics(variant: MeasuredVariant) -> dict[str, float]:
    """Return every number of a variant by its flat name; nothing for one that was not built."""
    if variant.artifact is None:
        return {}
    return metrics(variant.artifact, variant.evaluation, variant.efficiency)


def _intervals(variant: MeasuredVariant) -> dict[str, tuple[float, float]]:
    timing = variant.efficiency
    if timing is None:
        return {}
    return {"efficiency/latency_ratio": (timing.latency_ratio_low, timing.latency_ratio_high)}


def _accuracy_drop(variant: MeasuredVariant, reference: MeasuredVariant) -> float | None:
    if variant.evaluation is None or reference.evaluation is None:
        return None
    return drop(reference.evaluation.accuracy.accuracy, variant.evaluation.accuracy.accuracy)
