"""The reliability diagram of one variant: how often it is right, over how sure it says it is."""

from __future__ import annotations

from matplotlib.figure import Figure

from pt_core.evaluation.report import EvaluationReport
from pt_core.reporting.figure import INK, QUIET, dress, legend_below, new_figure

_BAR, _GAP = "#0072B2", "#D55E00"


def reliability(name: str, evaluation: EvaluationReport) -> Figure | None:
    """Draw accuracy per bin of confidence, the gap to it, and how many samples each bin has; ``None`` without bins."""
    accuracy = evaluation.accuracy
    bins = accuracy.reliability
    if not bins:
        return None
    figure = new_figure(4.6, 4.4)
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    error = "undefined" if accuracy.ece is None else f"{accuracy.ece:.4f}"
    dress(axes, title=f"{name}: ECE {error}", y="share that is right")
    dress(counts, x="probability of the predicted class", y="samples")
    left, width = [one.low for one in bins], [one.high - one.low for one in bins]
    heights = [one.accuracy for one in bins]
    gaps = [one.confidence - one.accuracy for one in bins]
    bars = axes.bar(left, heights, width, align="edge", color=_BAR, alpha=0.75, label="right")
    between = axes.bar(
        left,
        gaps,
        width,
        bottom=heights,
        align="edge",
        color=_GAP,
        alpha=0.35,
        hatch="//",
        label="gap to the mean confidence",
    )
    (perfect,) = axes.plot(
        [0, 1], [0, 1], color=INK, linestyle="dashed", linewidth=1, label="as sure as right"
    )
    counts.bar(left, [one.num_samples for one in bins], width, align="edge", color=QUIET)
    # Nearly all samples of a good classifier are in the last bin.
    counts.set_yscale("log")
    counts.yaxis.set_major_formatter("{x:g}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    legend_below(figure, [bars, between, perfect], columns=3)
    return figure
