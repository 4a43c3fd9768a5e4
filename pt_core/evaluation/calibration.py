"""How far probabilities can be trusted: log-loss, Brier score and calibration error, from logits and targets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.evaluation.report import ReliabilityBin


class Calibration(NamedTuple):
    """What the probabilities of an artifact are worth."""

    log_loss: float
    """Mean of -log(probability of the true class), in nats, 0 or more."""
    brier: float
    """Mean squared distance of the probabilities from the one-hot truth (Brier 1950), 0 to 2."""
    ece: float
    """Expected calibration error: mean of \\|accuracy - confidence\\| over bins, weighted by samples, 0 to 1."""
    bins: tuple[ReliabilityBin, ...]
    """The reliability diagram; empty bins are left out."""


def calibrate(logits: NDArray[np.float32], targets: NDArray[np.int64], *, num_bins: int) -> Calibration:
    """Return the calibration of finite logits (N, C) on targets (N,), with N at least 1.

    The error is that of Guo et al. 2017 (arXiv:1706.04599), equation 3: bins of equal width over the
    probability of the predicted class, each closed above.
    """
    log_probabilities = _log_softmax(logits)
    probabilities = np.exp(log_probabilities)
    rows = np.arange(len(targets))
    truth = np.zeros_like(probabilities)
    truth[rows, targets] = 1.0
    confidence = probabilities.max(axis=1)
    right = logits.argmax(axis=1) == targets
    bins = _bins(confidence, right, num_bins)
    gaps = [abs(b.accuracy - b.confidence) * b.num_samples for b in bins]
    return Calibration(
        log_loss=float(-log_probabilities[rows, targets].mean()),
        brier=float(((probabilities - truth) ** 2).sum(axis=1).mean()),
        ece=float(sum(gaps) / len(targets)),
        bins=bins,
    )


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def _bins(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], num_bins: int
) -> tuple[ReliabilityBin, ...]:
    edges = np.linspace(0, 1, num_bins + 1)
    which = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    return tuple(
        ReliabilityBin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            num_samples=int((which == i).sum()),
            confidence=float(confidence[which == i].mean()),
            accuracy=float(right[which == i].mean()),
        )
        for i in range(num_bins)
        if (which == i).any()
    )
