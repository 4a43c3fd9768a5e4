"""Read one variant's ROC and precision-recall curves from its evaluation on disk, with their mean over classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from pt_core.bundle import open_bundle
from pt_core.evaluation.accuracy import Curve, Curves, curves
from pt_core.evaluation.report import LOGITS, EvaluationReport

Floats = NDArray[np.float64]

MACRO_AVERAGE = "macro-average"
"""Label of the mean curve of the classes."""

_GRID = np.linspace(1.0, 0.0, 501)  # falling, as recall does in a precision-recall curve


def load_curves(evaluation: EvaluationReport, labels: tuple[str, ...]) -> Curves:
    """Check the evaluation's bytes, and return its curves with the macro-average first.

    Raises:
        IntegrityError: the evaluation on disk is not intact.
    """
    open_bundle(Path(evaluation.directory), kind="evaluation")
    tensors = load_file(Path(evaluation.directory) / LOGITS)
    found = curves(tensors["logits"], tensors["targets"], labels)
    return Curves(
        roc=_with_mean(found.roc, _roc_height),
        precision_recall=_with_mean(found.precision_recall, _precision_height),
    )


def _with_mean(family: tuple[Curve, ...], height: Callable[[Curve], Floats]) -> tuple[Curve, ...]:
    """Put the mean line, whose area is the mean of the classes' as in the report, before the others."""
    classes = family[:-1]  # the micro-average is the last
    if not classes:
        return family
    mean = np.mean([height(curve) for curve in classes], axis=0)
    area = float(np.mean([curve.area for curve in classes]))
    return (Curve(MACRO_AVERAGE, _GRID, mean, area), *family)


def _roc_height(curve: Curve) -> Floats:
    return np.asarray(np.interp(_GRID, curve.x, curve.y), dtype=np.float64)


def _precision_height(curve: Curve) -> Floats:
    """Return the precision at the strictest threshold that reaches each recall, as average precision sums it."""
    recall, precision = curve.x[::-1], curve.y[::-1]
    return precision[np.searchsorted(recall, _GRID, side="left")]
