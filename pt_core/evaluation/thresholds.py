"""Score a problem of two classes at thresholds on the probability of the second one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pt_core.evaluation.report import Undefined
from pt_core.evaluation.scores import THRESHOLD_METRICS, ThresholdScores

_REASONS = {
    "accuracy": "there are no samples",
    "precision": "no sample is called positive",
    "recall": "no sample is positive",
    "specificity": "no sample is negative",
    "f1": "no sample is positive or called so",
}


def at_thresholds(
    logits: NDArray[np.float32], targets: NDArray[np.int64], thresholds: Sequence[float]
) -> tuple[ThresholdScores, ...]:
    """Return the counts at each threshold, from finite logits (N, 2) and targets (N,)."""
    positive = targets == 1
    found = []
    for threshold in thresholds:
        called = called_positive(logits, threshold)
        found.append(
            ThresholdScores(
                threshold=threshold,
                true_positives=int((called & positive).sum()),
                false_positives=int((called & ~positive).sum()),
                false_negatives=int((~called & positive).sum()),
                true_negatives=int((~called & ~positive).sum()),
            )
        )
    return tuple(found)


def called_positive(logits: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Return (N,) whether the softmax probability of the second of two classes reaches the threshold."""
    wide = logits.astype(np.float64)
    # p >= t is log-odds(p) >= log-odds(t), where nothing overflows and 0.5 is exactly the greater logit.
    odds: NDArray[np.bool_] = wide[:, 1] - wide[:, 0] >= np.log(threshold) - np.log1p(-threshold)
    return odds


def undefined_at(scores: Sequence[ThresholdScores]) -> tuple[Undefined, ...]:
    """Return every metric that has no value at a threshold, with its reason."""
    return tuple(
        Undefined(metric=one.name_of(name), reason=_REASONS[name])
        for one in scores
        for name in THRESHOLD_METRICS
        if getattr(one, name) is None
    )
