"""Paired bootstrap of the metrics that are no share of samples: the range of the drop of F1, recall and their like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.evaluation.pairs import PairedAnswers

Floats = NDArray[np.float64]

METRICS = ("precision_macro", "recall_macro", "f1_macro", "balanced_accuracy", "matthews")
"""Fields of the accuracy report that come from counts of targets and predicted classes alone."""
TAIL = 0.02
"""Share of resamples left out on each side."""

_NUM_RESAMPLES = 2000
_BLOCK = 200
"""Resamples held in memory at once."""
_SEED = 0


class _Totals(NamedTuple):
    """Counts of (B,) resamples by class, (B, C) float64."""

    right: Floats
    targets: Floats
    predicted: Floats


def drop_ranges(answers: PairedAnswers, *, num_classes: int) -> Mapping[str, tuple[float, float]]:
    """Return the 2nd and 98th percentile of each metric's drop over 2,000 resamples of the samples, seed 0.

    A sample is drawn with both of its answers, which is what makes it paired. A metric that is undefined in
    a resample counts as 0 there. Resamples of equal answers are all equal: see the caller, which never lets
    such a range be narrower than that of accuracy.
    """
    cells = np.stack([answers.targets, answers.reference, answers.variant], axis=1)
    distinct, counts = np.unique(cells, axis=0, return_counts=True)
    generator = np.random.default_rng(_SEED)
    n = int(counts.sum())
    drops: dict[str, list[Floats]] = {name: [] for name in METRICS}
    for _ in range(0, _NUM_RESAMPLES, _BLOCK):
        weights = generator.multinomial(n, counts / n, size=_BLOCK).astype(np.float64)
        reference, variant = (
            metrics_of(weights, distinct[:, 0], distinct[:, column], num_classes=num_classes)
            for column in (1, 2)
        )
        for name in METRICS:
            drops[name].append(reference[name] - variant[name])
    found = {name: np.quantile(np.concatenate(parts), [TAIL, 1 - TAIL]) for name, parts in drops.items()}
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}


def metrics_of(
    weights: Floats, targets: NDArray[np.int64], predicted: NDArray[np.int64], *, num_classes: int
) -> dict[str, Floats]:
    """Return each metric of (B, K) weights over K distinct (target, predicted class), as (B,) float64.

    The definitions are those of the accuracy report, undefined ones counting as 0.
    """
    classes = np.eye(num_classes)
    totals = _Totals(
        right=weights @ (classes[targets] * (targets == predicted)[:, None]),
        targets=weights @ classes[targets],
        predicted=weights @ classes[predicted],
    )
    recall = _share(totals.right, totals.targets)
    f1 = _share(2 * totals.right, totals.targets + totals.predicted)
    return {
        "precision_macro": _share(totals.right, totals.predicted).mean(axis=1),
        "recall_macro": recall.mean(axis=1),
        "f1_macro": f1.mean(axis=1),
        "balanced_accuracy": recall.sum(axis=1) / np.maximum(1, (totals.targets > 0).sum(axis=1)),
        "matthews": _matthews(totals),
    }


def _matthews(totals: _Totals) -> Floats:
    """Return the correlation of Gorodkin 2004 (doi:10.1016/j.compbiolchem.2004.09.006) for many classes."""
    n = totals.targets.sum(axis=1)
    covariance = totals.right.sum(axis=1) * n - (totals.predicted * totals.targets).sum(axis=1)
    spreads = [n**2 - (one**2).sum(axis=1) for one in (totals.predicted, totals.targets)]
    return _share(covariance, np.sqrt(spreads[0] * spreads[1]))


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
