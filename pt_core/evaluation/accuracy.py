"""From logits and targets to an AccuracyReport or to curves; undefined is ``None``, and non-finite logits are refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    matthews_corrcoef,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from pt_core.errors import DataError, StepFailed
from pt_core.evaluation.calibration import calibrate
from pt_core.evaluation.report import ACCURACY_METRICS, AccuracyReport, ClassMetrics, Undefined
from pt_core.evaluation.thresholds import at_thresholds, undefined_at
from pt_core.evaluation.top_k import TOP_K, hits

CALIBRATION_BINS = 15

MICRO_AVERAGE = "micro-average"
"""Label of the curve over all (sample, class) pairs together."""


class Curve(NamedTuple):
    """One curve to plot."""

    label: str
    """Name of the class, or "micro-average"."""
    x: NDArray[np.float64]
    """(P,) false positive rate (ROC) or recall (PR), 0 to 1."""
    y: NDArray[np.float64]
    """(P,) true positive rate (ROC) or precision (PR), 0 to 1."""
    area: float
    """Area under the ROC curve, or average precision."""


class Curves(NamedTuple):
    """The curves of every class with samples on both sides, then their micro-average."""

    roc: tuple[Curve, ...]
    """Receiver operating characteristic."""
    precision_recall: tuple[Curve, ...]
    """Precision over recall."""


def score(
    logits: NDArray[np.float32],
    targets: NDArray[np.int64],
    labels: Sequence[str],
    *,
    top_k: int = TOP_K,
    num_bins: int = CALIBRATION_BINS,
    thresholds: Sequence[float] = (),
) -> AccuracyReport:
    """Return how right the logits are; equal greatest logits count for the lowest class number.

    Args:
        logits: (N, C) float32, N at least 1.
        targets: (N,) int64, 0 to C - 1.
        labels: C names.
        top_k: how many greatest logits count as a hit in ``top_k_accuracy``.
        num_bins: bins of the reliability diagram.
        thresholds: probabilities of the second of two classes to decide at.

    Raises:
        StepFailed: a logit is not finite.
        DataError: shapes or targets do not fit together.
    """
    _check(logits, targets, labels)
    classes = np.arange(len(labels))
    predicted = logits.argmax(axis=1)
    # zero_division=nan marks what is undefined; the default would warn and call it 0.
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, predicted, labels=classes, zero_division=np.nan
    )
    areas = list(_areas(logits, targets))
    calibration = calibrate(logits, targets, num_bins=num_bins)
    report = AccuracyReport(
        num_samples=len(targets),
        accuracy=float((predicted == targets).mean()),
        precision_macro=float(np.nan_to_num(precision).mean()),
        recall_macro=float(np.nan_to_num(recall).mean()),
        f1_macro=float(np.nan_to_num(f1).mean()),
        roc_auc_macro=_mean([roc_auc for roc_auc, _ in areas]),
        average_precision_macro=_mean([average_precision for _, average_precision in areas]),
        balanced_accuracy=float(recall[support > 0].mean()),
        top_k_accuracy=_top_k(logits, targets, top_k),
        top_k=top_k,
        matthews=_matthews(targets, predicted),
        log_loss=calibration.log_loss,
        brier=calibration.brier,
        ece=calibration.ece,
        per_class=tuple(
            ClassMetrics(
                label=label,
                precision=_defined(precision[i]),
                recall=_defined(recall[i]),
                f1=_defined(f1[i]),
                support=int(support[i]),
                roc_auc=areas[i][0],
                average_precision=areas[i][1],
            )
            for i, label in enumerate(labels)
        ),
        confusion_matrix=tuple(
            tuple(int(count) for count in row) for row in confusion_matrix(targets, predicted, labels=classes)
        ),
        reliability=calibration.bins,
        thresholds=at_thresholds(logits, targets, thresholds),
    )
    undefined = (*_undefined(report), *undefined_at(report.thresholds))
    return report.model_copy(update={"undefined": undefined})


def _top_k(logits: NDArray[np.float32], targets: NDArray[np.int64], k: int) -> float | None:
    # With k classes every sample would hit.
    return float(hits(logits, targets, k).mean()) if k < logits.shape[1] else None


def _matthews(targets: NDArray[np.int64], predicted: NDArray[np.int64]) -> float | None:
    # scikit-learn calls it 0 where its denominator is.
    if len(np.unique(targets)) == 1 or len(np.unique(predicted)) == 1:
        return None
    return float(matthews_corrcoef(targets, predicted))


def _undefined(report: AccuracyReport) -> tuple[Undefined, ...]:
    absent = [found.label for found in report.per_class if found.roc_auc is None]
    ranking = f"class {', '.join(absent[:5])} has samples on one side only" if absent else ""
    reasons = {
        "top_k_accuracy": f"k is {report.top_k} and there are {len(report.per_class)} classes, so that every sample would hit",
        "matthews": "the truth or the predictions hold one class only",
        "roc_auc_macro": ranking,
        "average_precision_macro": ranking,
    }
    return tuple(
        Undefined(metric=f"accuracy/{name}", reason=reasons[name])
        for name in ACCURACY_METRICS
        if getattr(report, name) is None
    )


def curves(logits: NDArray[np.float32], targets: NDArray[np.int64], labels: Sequence[str]) -> Curves:
    """Return one-versus-rest and micro-average curves; a class that is absent or alone has none.

    Raises:
        StepFailed: a logit is not finite.
        DataError: shapes or targets do not fit together.
    """
    _check(logits, targets, labels)
    scores = log_odds(logits)
    is_class = targets[:, None] == np.arange(len(labels))
    pairs = [
        (label, is_class[:, i], scores[:, i])
        for i, label in enumerate(labels)
        if is_class[:, i].any() and not is_class[:, i].all()
    ]
    pairs.append((MICRO_AVERAGE, is_class.ravel(), scores.ravel()))
    return Curves(
        roc=tuple(_roc(*pair) for pair in pairs),
        precision_recall=tuple(_precision_recall(*pair) for pair in pairs),
    )


def log_odds(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (N, C) float64 log(p / (1 - p)) of the softmax p, the ranking score of each class against the rest.

    It orders samples as p does, but does not round confident ones to the same 1, as p itself would.
    """
    wide = np.asarray(logits, dtype=np.float64)
    rows, top = np.arange(len(wide)), wide.argmax(axis=1)
    shifted = wide - wide[rows, top][:, None]
    exponents = np.exp(shifted)
    odds: NDArray[np.float64] = np.zeros_like(shifted)
    others = shifted.copy()
    others[rows, top] = -np.inf
    # Leaving a class out of the sum is exact enough for every class but the greatest, which gets its own sum.
    without = exponents.sum(axis=1, keepdims=True) - exponents
    without[rows, top] = 1.0
    odds = shifted - np.log(without)
    second = others.max(axis=1)
    odds[rows, top] = -(second + np.log(np.exp(others - second[:, None]).sum(axis=1)))
    return odds


def check_finite(logits: NDArray[np.float32], *, where: str) -> None:
    """Refuse logits that are not numbers: the greatest of NaNs would count as class 0.

    Raises:
        StepFailed: says how many samples, and which come first.
    """
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        first = ", ".join(str(row) for row in bad[:5])
        raise StepFailed(
            f"{where}: logits of {len(bad)} of {len(logits)} samples are not finite (first rows: {first}); "
            "look for an overflow in the artifact's precision"
        )


def _check(logits: NDArray[np.float32], targets: NDArray[np.int64], labels: Sequence[str]) -> None:
    expected = (len(targets), len(labels))
    if logits.shape != expected or len(targets) == 0 or len(labels) < 2:
        raise DataError(
            f"accuracy: logits of shape {logits.shape} for {len(targets)} targets and {len(labels)} labels; "
            "expected (targets, labels) with at least 1 target and 2 labels"
        )
    if targets.min() < 0 or targets.max() >= len(labels):
        raise DataError(
            f"accuracy: targets from {targets.min()} to {targets.max()}, expected 0 to {len(labels) - 1}"
        )
    check_finite(logits, where="accuracy")


def _areas(
    logits: NDArray[np.float32], targets: NDArray[np.int64]
) -> Iterator[tuple[float | None, float | None]]:
    """Yield ROC area and average precision of each class; a ranking needs samples on both sides."""
    scores = log_odds(logits)
    for i in range(logits.shape[1]):
        is_class = targets == i
        if is_class.all() or not is_class.any():
            yield None, None
        else:
            yield (
                float(roc_auc_score(is_class, scores[:, i])),
                float(average_precision_score(is_class, scores[:, i])),
            )


def _roc(label: str, is_class: NDArray[np.bool_], scores: NDArray[np.float64]) -> Curve:
    false_positive_rate, true_positive_rate, _ = roc_curve(is_class, scores)
    return Curve(label, false_positive_rate, true_positive_rate, float(roc_auc_score(is_class, scores)))


def _precision_recall(label: str, is_class: NDArray[np.bool_], scores: NDArray[np.float64]) -> Curve:
    precision, recall, _ = precision_recall_curve(is_class, scores)
    return Curve(label, recall, precision, float(average_precision_score(is_class, scores)))


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None
