"""From logits to named predictions with probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pt_core.errors import StepFailed
from pt_core.inference.requests import Prediction


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probabilities of each row of logits, (N, num_classes) float64, each row summing to 1."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponents = np.exp(shifted)
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def centred(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (N, num_classes) float64 logits less the mean of each row, on which softmax does not depend."""
    wide = logits.astype(np.float64)
    found: NDArray[np.float64] = wide - wide.mean(axis=1, keepdims=True)
    return found


def to_probabilities(logits: NDArray[np.float32], *, source: str) -> NDArray[np.float64]:
    """Return :func:`softmax` of the logits.

    Raises:
        StepFailed: a logit is not finite, so that a greatest one means nothing.
    """
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if broken.size:
        raise StepFailed(f"{source}: the logits of sample {broken[0]} are not finite, expected numbers")
    return softmax(logits)


def to_predictions(logits: NDArray[np.float32], *, source: str, labels: tuple[str, ...]) -> list[Prediction]:
    """Return one prediction per row of logits.

    Raises:
        StepFailed: a logit is not finite.
    """
    return [
        Prediction(
            input=source,
            index=index,
            label=labels[int(row.argmax())],
            probability=float(row.max()),
            probabilities=tuple(row.tolist()),
        )
        for index, row in enumerate(to_probabilities(logits, source=source))
    ]
