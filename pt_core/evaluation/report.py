"""EvaluationReport: everything measured on one artifact, and its flat metric names."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.plugin import RuntimeInfo
from pt_core.bundle import Bundle
from pt_core.evaluation.points import metric_name
from pt_core.evaluation.scores import (
    SLICE_METRICS,
    THRESHOLD_METRICS,
    CustomScore,
    SliceScores,
    ThresholdScores,
)
from pt_core.record import Record

LOGITS = "logits.safetensors"
"""Tensors ``logits`` (N, num_classes) float32, ``targets`` (N,) int64, ``ids`` (N,) int64 on the clean test split."""
ANSWERS = "answers.safetensors"
"""Predicted class of every perturbed sample, (num_samples,) int32 under the flat metric name of its point; -1 is
one that Square found wrong, whose class is not kept."""
SLICES = "slices.safetensors"
"""Rows of the clean test split in every slice, (num_samples,) int64 under what its metrics start with."""
SQUARE = "square.npy"
"""(num_samples, *input_shape) float32 that Square made on the artifact at the radius of the transfer table."""


class ClassMetrics(Record):
    """Metrics of one class against the rest; undefined is ``None``."""

    label: str
    """Name of the class."""
    precision: float | None
    """True positives over predicted positives; undefined if it was never predicted."""
    recall: float | None
    """True positives over samples of the class; undefined if there is none."""
    f1: float | None
    """Harmonic mean of precision and recall."""
    support: int
    """Samples of the class."""
    roc_auc: float | None
    """Area under the one-versus-rest ROC curve; undefined if the class is absent or alone."""
    average_precision: float | None
    """Area under the one-versus-rest precision-recall curve (average precision)."""


class ReliabilityBin(Record):
    """Samples whose predicted class got a probability of one range."""

    low: float
    """Lower edge, not part of the bin but for 0."""
    high: float
    """Upper edge, part of the bin."""
    num_samples: int
    """Samples in it, at least 1."""
    confidence: float
    """Their mean probability of the predicted class."""
    accuracy: float
    """Share of them that are right."""


class Undefined(Record):
    """A metric that has no value here."""

    metric: str
    """Its flat name."""
    reason: str
    """Why, in one clause."""


class AccuracyReport(Record):
    """How right the artifact is on clean samples."""

    num_samples: int
    """Samples scored."""
    accuracy: float
    """Share of samples whose greatest logit is their class, 0 to 1."""
    precision_macro: float
    """Mean precision over classes; an undefined one counts as 0."""
    recall_macro: float
    """Mean recall over classes; an undefined one counts as 0."""
    f1_macro: float
    """Mean F1 over classes; an undefined one counts as 0."""
    roc_auc_macro: float | None
    """Mean one-versus-rest ROC area; undefined if any class's is."""
    average_precision_macro: float | None
    """Mean average precision; undefined if any class's is."""
    balanced_accuracy: float | None = None
    """Mean recall over the classes that have samples."""
    top_k_accuracy: float | None = None
    """Share of samples whose class is among the k greatest logits; undefined with k classes or fewer."""
    top_k: int = 5
    """That k."""
    matthews: float | None = None
    """Matthews correlation coefficient, -1 to 1; undefined if truth or prediction is one class only."""
    log_loss: float | None = None
    """Mean of -log(probability of the true class), in nats; lower is better."""
    brier: float | None = None
    """Mean squared distance of the probabilities from the truth, 0 to 2; lower is better."""
    ece: float | None = None
    """Expected calibration error, 0 to 1; lower is better."""
    per_class: tuple[ClassMetrics, ...]
    """One per class, in the order of the labels."""
    confusion_matrix: tuple[tuple[int, ...], ...]
    """Rows are true classes, columns predicted ones."""
    reliability: tuple[ReliabilityBin, ...] = ()
    """The reliability diagram, from low confidence to high; empty bins are left out."""
    thresholds: tuple[ThresholdScores, ...] = ()
    """Two classes decided at the configured probabilities of the second one."""
    undefined: tuple[Undefined, ...] = ()
    """Every metric with a flat name (this report's own and those at thresholds) that is ``None``, with its reason;
    what a single class lacks is told in ``per_class`` alone."""


ACCURACY_METRICS = tuple(
    n for n, f in AccuracyReport.model_fields.items() if f.annotation in (float, float | None)
)
"""Fields that are metrics, flat under ``accuracy/``."""


class RobustnessPoint(Record):
    """Accuracy under one perturbation."""

    attack: str
    """"fgsm", "gaussian-noise", "pgd", "pgd-l2", "square", or the name of a corruption."""
    strength: float
    """Epsilon, sigma or severity, in the units of the configuration."""
    accuracy: float
    """Share of perturbed samples still right, 0 to 1."""
    num_samples: int
    """Samples scored."""
    num_queries: int | None = None
    """Samples that a gradient-free attack sent through this artifact; ``None`` for a replayed perturbation."""

    @property
    def metric(self) -> str:
        """Its flat metric name."""
        return metric_name(self.attack, self.strength)


class EvaluationInfo(Record):
    """What the manifest of an evaluation says: everything about an artifact but its timing."""

    artifact_digest: str
    """Digest of the artifact that was measured."""
    dataset_digest: str
    """Digest of the dataset."""
    data_fingerprint: str
    """Fingerprint of the samples."""
    sample_ids_sha256: str
    """Digest of the test sample ids, in order."""
    attacks_digest: str
    """Digest of the perturbed samples that were replayed."""
    accuracy: AccuracyReport
    """On clean samples."""
    robustness: tuple[RobustnessPoint, ...]
    """On perturbed samples."""
    slices: tuple[SliceScores, ...] = ()
    """On parts of the clean samples."""
    custom: tuple[CustomScore, ...] = ()
    """The user's own metrics on clean samples."""
    undefined: tuple[Undefined, ...] = ()
    """Every metric of slices and of the user's own that is ``None``, with its reason."""
    peak_memory_bytes: int | None = None
    """In results of earlier versions, which measured it beside other evaluations; see :class:`EfficiencyReport`."""
    cold_start_s: float | None = Field(default=None, gt=0)
    """Likewise."""
    runtime: RuntimeInfo
    """What really executed it."""


class EvaluationReport(EvaluationInfo, Bundle):
    """An evaluation on disk, with the logits of every clean sample beside it."""


class SweepPoint(Record):
    """Speed at one batch size."""

    batch_size: int
    """Samples per call."""
    latency_ms_p50: float = Field(gt=0)
    """Median time of one call."""
    throughput_samples_per_s: float = Field(gt=0)
    """Samples per second, from the median call."""


class EfficiencyReport(Record):
    """Speed of one artifact, measured interleaved with the reference in one process."""

    artifact_digest: str
    """Digest of the artifact that was timed."""
    latency_ms_p50: float = Field(gt=0)
    """Median time of one call at the latency batch size."""
    latency_ms_p95: float = Field(gt=0)
    """95th percentile."""
    latency_ms_p99: float = Field(gt=0)
    """99th percentile."""
    throughput_samples_per_s: float = Field(gt=0)
    """Samples per second at the throughput batch size, from the median call."""
    latency_ratio: float = Field(gt=0)
    """Median over rounds of this artifact's time divided by the reference's, each the least of the round's calls;
    below 1 is faster."""
    latency_ratio_low: float = Field(gt=0)
    """Lower end of the 95 % bootstrap interval of that median."""
    latency_ratio_high: float = Field(gt=0)
    """Upper end."""
    noise_ratio_low: float = Field(gt=0)
    """The reference against itself in the same rounds, lower end: differences inside are noise."""
    noise_ratio_high: float = Field(gt=0)
    """Upper end."""
    judged_ratio_low: float | None = Field(default=None, gt=0)
    """Lower end of latency_ratio's interval, widened by the noise: what a rule on the ratio is decided by."""
    judged_ratio_high: float | None = Field(default=None, gt=0)
    """Upper end."""
    num_rounds: int
    """Rounds measured."""
    sweep: tuple[SweepPoint, ...] = ()
    """Speed at every batch size of the sweep, rising."""
    best_throughput_samples_per_s: float | None = Field(default=None, gt=0)
    """The greatest of the sweep."""
    best_batch_size: int | None = None
    """Where that is."""
    num_parameters: int | None = None
    """Parameters of the reference network, which every variant is made from."""
    reference_flops: int | None = None
    """Operations of the reference for one sample: matrix products, convolutions and attention, two for a multiply-add."""
    flops_reason: str | None = None
    """Why they could not be counted."""
    cold_start_s: float | None = Field(default=None, gt=0)
    """Seconds from checking the artifact's bytes, importing its runtime and loading it to the answer for one sample,
    in a fresh process with nothing else running; one start, its files in the page cache."""
    peak_memory_bytes: int | None = None
    """Growth of that process's peak resident memory until it answered at the throughput batch size."""
    start_reason: str | None = None
    """Why it was not started so."""

    @property
    def comparison(self) -> Literal["faster", "slower", "too close to tell"]:
        """How it stands to the reference once the noise is taken off."""
        low, high = self.judged_range
        if low <= 1 <= high:
            return "too close to tell"
        return "faster" if high < 1 else "slower"

    @property
    def judged_range(self) -> tuple[float, float]:
        """The interval that rules on latency_ratio are decided by."""
        return (
            self.judged_ratio_low or self.latency_ratio_low,
            self.judged_ratio_high or self.latency_ratio_high,
        )


_NO_METRICS = ("artifact_digest", "num_rounds", "sweep", "flops_reason", "start_reason")
EFFICIENCY_METRICS = tuple(name for name in EfficiencyReport.model_fields if name not in _NO_METRICS)
"""Fields that are metrics, flat under ``efficiency/``."""


def metrics(
    artifact: Artifact,
    evaluation: EvaluationReport | None,
    efficiency: EfficiencyReport | None,
) -> dict[str, float]:
    """Return every defined number under its flat name, ``section/metric_unit``; the same names for every variant."""
    found: dict[str, float | None] = {"efficiency/size_bytes": artifact.payload_bytes}
    if artifact.quantization:
        found["quantization/weight_share"] = artifact.quantization.weight_share
    if artifact.parity:
        found["parity/max_relative_error"] = max(p.relative_error for p in artifact.parity.points)
    if evaluation:
        found |= _evaluation_metrics(evaluation)
    if efficiency:
        timed = {f"efficiency/{name}": getattr(efficiency, name) for name in EFFICIENCY_METRICS}
        found |= {name: value for name, value in timed.items() if value is not None}
    return {name: float(value) for name, value in found.items() if value is not None}


def _evaluation_metrics(evaluation: EvaluationReport) -> dict[str, float | None]:
    accuracy = evaluation.accuracy
    found: dict[str, float | None] = {
        f"accuracy/{name}": getattr(accuracy, name) for name in ACCURACY_METRICS
    }
    for point in evaluation.robustness:
        found[point.metric] = point.accuracy
    for threshold in accuracy.thresholds:
        found |= {threshold.name_of(name): getattr(threshold, name) for name in THRESHOLD_METRICS}
    for one in evaluation.slices:
        found |= {f"{one.metric}/{name}": getattr(one, name) for name in SLICE_METRICS}
    found |= {own.metric: own.value for own in evaluation.custom}
    found["efficiency/peak_memory_bytes"] = evaluation.peak_memory_bytes
    found["efficiency/cold_start_s"] = evaluation.cold_start_s
    return found
