"""The comparison of variants as plain rows, the same in the HTML report and in MLflow."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from statistics import fmean

from pt_core.decision.result import RunResult, VariantResult
from pt_core.decision.verdict import State
from pt_core.record import Record


class ComparisonRow(Record):
    """One variant on one line; what was not measured is ``None``."""

    variant: str
    """Name of the variant."""
    steps: str
    """Its chain, joined by arrows; "reference" for the reference."""
    state: str
    """built, failed or skipped."""
    verdict: State
    """Its judgement."""
    accuracy: float | None
    """Accuracy on clean samples, 0 to 1."""
    accuracy_drop: float | None
    """Accuracy of the reference minus its own."""
    robust_accuracy: float | None
    """Mean accuracy over every FGSM and noise strength, 0 to 1."""
    latency_ms_p50: float | None
    """Median latency of one call."""
    latency_ratio: float | None
    """Latency divided by the reference's, interleaved; below 1 is faster."""
    latency_ratio_low: float | None
    """Lower end of its 95 % interval."""
    latency_ratio_high: float | None
    """Upper end."""
    size_bytes: int | None
    """Bytes of all files that are shipped."""
    reason: str
    """Why, in one sentence."""


def comparison_rows(result: RunResult) -> tuple[ComparisonRow, ...]:
    """Return one row per variant, in the order of the configuration."""
    return tuple(_row(variant) for variant in result.variants)


def to_csv(rows: Sequence[ComparisonRow]) -> str:
    """Return the rows as CSV with a header; undefined is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(ComparisonRow.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    return text.getvalue()


def _row(variant: VariantResult) -> ComparisonRow:
    evaluation, efficiency, artifact = variant.evaluation, variant.efficiency, variant.artifact
    points = evaluation.robustness if evaluation else ()
    return ComparisonRow(
        variant=variant.name,
        steps=" → ".join(step.name for step in variant.steps) or "reference",
        state=variant.state,
        verdict=variant.verdict.state,
        accuracy=evaluation.accuracy.accuracy if evaluation else None,
        accuracy_drop=variant.accuracy_drop,
        robust_accuracy=fmean(point.accuracy for point in points) if points else None,
        latency_ms_p50=efficiency.latency_ms_p50 if efficiency else None,
        latency_ratio=efficiency.latency_ratio if efficiency else None,
        latency_ratio_low=efficiency.latency_ratio_low if efficiency else None,
        latency_ratio_high=efficiency.latency_ratio_high if efficiency else None,
        size_bytes=artifact.payload_bytes if artifact else None,
        reason=variant.problem or variant.verdict.reason,
    )
