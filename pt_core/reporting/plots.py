"""The pictures of one variant (confusion matrix, ROC, precision-recall, reliability) and of one run, as PNG or SVG bytes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pt_core.decision.result import RunResult, VariantResult
from pt_core.evaluation.accuracy import Curve, Curves
from pt_core.evaluation.report import EvaluationReport
from pt_core.reporting.accuracy_latency import accuracy_latency
from pt_core.reporting.curves import load_curves
from pt_core.reporting.figure import (
    INK,
    QUIET,
    dress,
    legend_below,
    new_figure,
    shorten,
    to_bytes,
)
from pt_core.reporting.reliability import reliability
from pt_core.reporting.robustness import robustness_figures

ROBUSTNESS = "robustness_"
"""What the names of the pictures of robustness start with."""

Steps = Literal["default", "steps-post"]

_GOOD_AREA = 0.95
_MAX_NUMBERED_CLASSES = 20
_RIGHT = LinearSegmentedColormap.from_list("right", ["#c6def0", "#0072B2"])
_WRONG = LinearSegmentedColormap.from_list("wrong", ["#fbd9bd", "#D55E00"])


def variant_figures(variant: VariantResult) -> dict[str, Figure]:
    """Return a variant's figures by name, the same names for every variant; none if it was not evaluated.

    Raises:
        IntegrityError: the evaluation on disk is not intact.
    """
    if variant.evaluation is None or variant.artifact is None:
        return {}
    found = load_curves(variant.evaluation, variant.artifact.labels)
    figures = {
        "confusion_matrix": confusion_matrix(variant.name, variant.evaluation),
        "roc": roc(variant.name, found),
        "pr": precision_recall(variant.name, found),
        "reliability": reliability(variant.name, variant.evaluation),
    }
    return {name: figure for name, figure in figures.items() if figure}


def run_figures(result: RunResult) -> dict[str, Figure]:
    """Return the figures of the whole run by name; one without anything to draw is left out."""
    figures = {
        "accuracy_latency": accuracy_latency(result),
        **{f"{ROBUSTNESS}{name}": figure for name, figure in robustness_figures(result).items()},
        "training": training(result),
    }
    return {name: figure for name, figure in figures.items() if figure}


def variant_pictures(variant: VariantResult) -> dict[str, bytes]:
    """Return a variant's figures as PNG bytes by file name.

    Raises:
        IntegrityError: the evaluation on disk is not intact.
    """
    return {f"{name}.png": to_bytes(figure, "png") for name, figure in variant_figures(variant).items()}


def confusion_matrix(name: str, evaluation: EvaluationReport) -> Figure:
    """Draw true against predicted classes: right ones blue, wrong ones orange, zeros empty."""
    counts = np.array(evaluation.accuracy.confusion_matrix, dtype=np.float64)
    labels = [shorten(metrics.label, 10) for metrics in evaluation.accuracy.per_class]
    size = min(9.0, 1.6 + 0.3 * len(labels))
    figure = new_figure(size, size)
    axes = figure.add_subplot()
    dress(axes, title=f"{name}: accuracy {evaluation.accuracy.accuracy:.4f}", x="predicted", y="true")
    axes.grid(visible=False)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(labels), dtype=bool)
    for colors, cells in ((_RIGHT, diagonal), (_WRONG, ~diagonal)):
        drawn = np.ma.masked_where(~(cells & (counts > 0)), share)
        axes.pcolormesh(drawn, cmap=colors, vmin=0, vmax=1)
    _name_classes(axes, labels)
    if len(labels) <= _MAX_NUMBERED_CLASSES:
        _number_cells(axes, counts, share)
    return figure


def _name_classes(axes: Axes, labels: list[str]) -> None:
    every = max(1, len(labels) // 25 + (len(labels) > 25))
    ticks = np.arange(0, len(labels), every)
    names = labels[::every]
    turned = 90 if max(map(len, labels)) > 3 else 0
    axes.set_xticks(ticks + 0.5, names, rotation=turned)
    axes.set_yticks(ticks + 0.5, names)
    axes.invert_yaxis()
    axes.set_aspect("equal")


def _number_cells(axes: Axes, counts: np.ndarray, share: np.ndarray) -> None:
    for row, column in np.argwhere(counts > 0):
        color = "white" if share[row, column] > 0.55 else "#101418"
        where = (column + 0.5, row + 0.5)
        axes.annotate(f"{counts[row, column]:.0f}", where, ha="center", va="center", fontsize=8, color=color)


def roc(name: str, found: Curves) -> Figure:
    """Draw the ROC curves: averages strong, classes light, chance dotted."""
    figure = new_figure(4.6, 4.4)
    axes = figure.add_subplot()
    dress(axes, title=f"{name}: ROC", x="false positive rate", y="true positive rate")
    handles = _draw_family(axes, found.roc, measure="area", steps="default")
    _enlarge(axes, found.roc, (0.0, 0.1), at=(0.42, 0.2), steps="default")
    legend_below(figure, handles, columns=1)
    return figure


def precision_recall(name: str, found: Curves) -> Figure:
    """Draw the precision-recall curves: averages strong, classes light."""
    figure = new_figure(4.6, 4.4)
    axes = figure.add_subplot()
    dress(axes, title=f"{name}: precision over recall", x="recall", y="precision")
    handles = _draw_family(axes, found.precision_recall, measure="average precision", steps="steps-post")
    _enlarge(axes, found.precision_recall, (0.9, 1.0), at=(0.1, 0.2), steps="steps-post")
    legend_below(figure, handles, columns=1)
    return figure


def _draw_family(axes: Axes, family: tuple[Curve, ...], *, measure: str, steps: Steps) -> list[Line2D]:
    macro, *classes, micro = family
    handles = []
    for curve in classes:
        axes.plot(curve.x, curve.y, color=QUIET, alpha=0.55, linewidth=0.9, drawstyle=steps)
    for curve, color, dashes in ((macro, "#0072B2", "solid"), (micro, "#D55E00", "dashed")):
        label = f"{curve.label}, {measure} {curve.area:.4f}"
        handles += axes.plot(
            curve.x, curve.y, color=color, linestyle=dashes, linewidth=2, label=label, drawstyle=steps
        )
    handles.append(Line2D([], [], color=QUIET, linewidth=0.9, label=f"each of {len(classes)} classes"))
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.04)
    return handles


def _enlarge(
    axes: Axes, family: tuple[Curve, ...], x: tuple[float, float], *, at: tuple[float, float], steps: Steps
) -> None:
    """Repeat the corner where good curves lie, larger; without good curves it would be empty."""
    if family[0].area < _GOOD_AREA:
        return
    inset = axes.inset_axes((*at, 0.52, 0.52))
    dress(inset)
    inset.set_title("the corner, enlarged", loc="left", fontsize=8, color=INK)
    inset.tick_params(labelsize=7)
    _draw_family(inset, family, measure="", steps=steps)
    inset.set_xlim(*x)
    inset.set_ylim(0.9, 1.003)


def training(result: RunResult) -> Figure | None:
    """Draw loss and accuracy per epoch; ``None`` for a checkpoint without a history."""
    history = result.checkpoint.history
    if not history:
        return None
    epochs = [epoch.epoch for epoch in history]
    figure = new_figure(6.4, 3.3)
    for place, measure in enumerate(("loss", "accuracy"), start=1):
        axes = figure.add_subplot(1, 2, place)
        dress(axes, title=measure.capitalize(), x="epoch")
        handles = []
        for split, color, dashes in (("train", INK, "dashed"), ("validation", "#0072B2", "solid")):
            values = [getattr(epoch, f"{split}_{measure}") for epoch in history]
            handles += axes.plot(epochs, values, color=color, linestyle=dashes, marker=".", label=split)
        handles.append(
            axes.axvline(result.checkpoint.epoch, color=QUIET, linestyle="dotted", label="kept epoch")
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, handles, columns=3)
    return figure
