"""The comparison of variants as rows, the one source of every table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pt_core.decision.result import ChampionResult, RunResult, VariantResult, standing
from pt_core.decision.verdict import State
from pt_core.errors import NotComparable
from pt_core.evaluation.pairs import ACCURACY
from pt_core.evaluation.report import EvaluationReport
from pt_core.record import Record

_UNDEFINED = "-"


class ComparisonRow(Record):
    """One variant in a table; undefined is ``None``."""

    run: str
    """Name of the run it belongs to."""
    variant: str
    """Name of the variant."""
    steps: str
    """Its chain, e.g. "onnx > onnx-int8-static"; empty for the reference."""
    chosen: bool
    """Whether it is the run's winner."""
    accuracy: float | None
    """Share of clean test samples right, 0 to 1."""
    accuracy_drop: float | None
    """Accuracy of the reference minus its own, absolute."""
    accuracy_drop_low: float | None = None
    """Lower end of its paired interval."""
    accuracy_drop_high: float | None = None
    """Upper end."""
    robust_accuracy: float | None
    """Accuracy under the perturbation of ``robust_metric``."""
    robust_metric: str | None
    """Flat name of the middle FGSM epsilon (the lower of two), the same for all rows of a run."""
    latency_ratio: float | None
    """Time of one call divided by the reference's; below 1 is faster."""
    latency_ratio_low: float | None
    """Lower end of its 95 % interval."""
    latency_ratio_high: float | None
    """Upper end."""
    size_bytes: int | None
    """Bytes of the files shipped for inference."""
    peak_memory_bytes: int | None
    """Growth of the peak memory of a process that runs it alone."""
    verdict: State | None
    """The state of its verdict; ``None`` for the champion, which is compared with and not judged."""
    promotable: bool = False
    """Whether it may be deployed: it passed, is within budget, and no other is as good in everything."""
    dominated_by: str | None = None
    """Name of another that passed and is as good in accuracy, latency and size and better in one of them."""
    over_budget: str | None = None
    """Every budget that it exceeds though it passed."""
    reason: str
    """Why, in one sentence."""

    @property
    def standing(self) -> str:
        """Its verdict in a word or two; see :func:`pt_core.decision.result.standing`."""
        if self.verdict is None:
            return "champion"
        return standing(self.verdict, over_budget=bool(self.over_budget), dominated_by=self.dominated_by)


def comparison_rows(result: RunResult) -> tuple[ComparisonRow, ...]:
    """Return one row per variant of a run, in its order, and the champion's last if it was compared with one."""
    evaluations = [variant.evaluation for variant in result.variants if variant.evaluation]
    robust_metric = _middle_fgsm(evaluations[0]) if evaluations else None
    rows = tuple(_row(variant, result, robust_metric) for variant in result.variants)
    champion = result.champion
    return (*rows, _champion_row(champion, result, robust_metric)) if champion else rows


def compare_runs(results: Sequence[RunResult]) -> tuple[ComparisonRow, ...]:
    """Return the rows of several runs, one run after the other.

    Raises:
        NotComparable: the runs do not rest on the same dataset and split; the details name each.
    """
    if len({result.dataset.digest for result in results}) > 1:
        raise NotComparable(
            "compare: the runs rest on different datasets; compare runs with equal digests",
            details=[
                f"{result.run_name}: {result.dataset.source}, digest {result.dataset.digest[:12]}, "
                f"content {result.dataset.fingerprint[:12]}"
                for result in results
            ],
        )
    return tuple(row for result in results for row in comparison_rows(result))


def drop_text(row: ComparisonRow) -> str:
    """Return the drop of accuracy with its interval, e.g. 0.0028 (-0.0102 to 0.0171)."""
    if row.accuracy_drop_low is None or row.accuracy_drop_low == row.accuracy_drop_high:
        return _number(row.accuracy_drop)
    ends = f"{_number(row.accuracy_drop_low)} to {_number(row.accuracy_drop_high)}"
    return f"{_number(row.accuracy_drop)} ({ends})"


def human_bytes(size: int | None) -> str:
    """Return a size in bytes, KiB, MiB or GiB."""
    if size is None:
        return _UNDEFINED
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


def _row(variant: VariantResult, result: RunResult, robust_metric: str | None) -> ComparisonRow:
    evaluation, timing = variant.evaluation, variant.efficiency
    paired = variant.drop_of(ACCURACY, against=result.reference)
    return ComparisonRow(
        run=result.run_name,
        variant=variant.name,
        steps=" > ".join(step.name for step in variant.steps),
        chosen=variant.name == result.winner,
        accuracy=evaluation.accuracy.accuracy if evaluation else None,
        accuracy_drop=variant.accuracy_drop,
        accuracy_drop_low=paired.low if paired else None,
        accuracy_drop_high=paired.high if paired else None,
        robust_accuracy=variant.metrics.get(robust_metric) if robust_metric else None,
        robust_metric=robust_metric,
        latency_ratio=timing.latency_ratio if timing else None,
        latency_ratio_low=timing.latency_ratio_low if timing else None,
        latency_ratio_high=timing.latency_ratio_high if timing else None,
        size_bytes=variant.artifact.payload_bytes if variant.artifact else None,
        peak_memory_bytes=_peak_memory(variant.metrics),
        verdict=variant.verdict.state,
        promotable=variant.promotable,
        dominated_by=variant.dominated_by,
        over_budget=", ".join(variant.over_budget) or None,
        reason=variant.reason,
    )


def _champion_row(champion: ChampionResult, result: RunResult, robust_metric: str | None) -> ComparisonRow:
    """Return the row of what is deployed now; its reason says whose it is, or why it was not measured."""
    evaluation, timing, artifact = champion.evaluation, champion.efficiency, champion.artifact
    run = f", chosen in {champion.run_name}" if champion.run_name else ""
    return ComparisonRow(
        run=result.run_name,
        variant=champion.name,
        steps=" > ".join(step.name for step in artifact.steps) if artifact else "",
        chosen=False,
        accuracy=evaluation.accuracy.accuracy if evaluation else None,
        accuracy_drop=None,
        robust_accuracy=champion.metrics.get(robust_metric) if robust_metric else None,
        robust_metric=robust_metric,
        latency_ratio=timing.latency_ratio if timing else None,
        latency_ratio_low=timing.latency_ratio_low if timing else None,
        latency_ratio_high=timing.latency_ratio_high if timing else None,
        size_bytes=artifact.payload_bytes if artifact else None,
        peak_memory_bytes=_peak_memory(champion.metrics),
        verdict=None,
        reason=champion.problem or f"what is deployed now{run}, measured here on the same samples",
    )


def _peak_memory(metrics: Mapping[str, float]) -> int | None:
    found = metrics.get("efficiency/peak_memory_bytes")
    return None if found is None else int(found)


def _middle_fgsm(evaluation: EvaluationReport) -> str | None:
    strengths = sorted(point.strength for point in evaluation.robustness if point.attack == "fgsm")
    return f"robustness/fgsm_{strengths[(len(strengths) - 1) // 2]:g}" if strengths else None


def _number(value: float | None) -> str:
    return _UNDEFINED if value is None else f"{value + 0.0:.4f}"
