"""The user's own metrics: called on logits and targets, and undefined where they give no number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pt_core.evaluation.report import Undefined
from pt_core.evaluation.scores import CustomScore
from pt_core.modeling.target import import_function

_MAX_REASON = 200


def measure_custom(
    functions: Sequence[str], logits: NDArray[np.float32], targets: NDArray[np.int64]
) -> tuple[tuple[CustomScore, ...], tuple[Undefined, ...]]:
    """Return what each function says, and why some say nothing.

    Args:
        functions: import paths "module:function".
        logits: (N, C) float32; each function gets its own copy.
        targets: (N,) int64.

    Raises:
        ConfigError: there is no such function, or its module cannot be imported.
    """
    scores, undefined = [], []
    for path in functions:
        value, reason = _measure(path, logits, targets)
        scores.append(CustomScore(function=path, value=value))
        if reason:
            undefined.append(Undefined(metric=scores[-1].metric, reason=reason))
    return tuple(scores), tuple(undefined)


def _measure(
    path: str, logits: NDArray[np.float32], targets: NDArray[np.int64]
) -> tuple[float | None, str | None]:
    function = import_function(path, where="evaluation.metrics")
    try:
        value = float(function(logits.copy(), targets.copy()))
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything, and one metric is no reason to lose the others
        return None, f"{path} raised {type(error).__name__}: {' '.join(str(error).split())}"[:_MAX_REASON]
    if not math.isfinite(value):
        return None, f"{path} returned {value}, expected a finite number"
    return value, None
