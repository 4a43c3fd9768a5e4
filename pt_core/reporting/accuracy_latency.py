"""The accuracy-latency picture: what each variant costs in accuracy, and what it gains in time and bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from pt_core.decision.compare import human_bytes
from pt_core.decision.result import RunResult
from pt_core.reporting.figure import (
    INK,
    QUIET,
    VERDICT_COLORS,
    VERDICT_MARKERS,
    dress,
    legend_below,
    new_figure,
    shorten,
)
from pt_core.reporting.operating_points import (
    OperatingPoint,
    accuracy_floor,
    noise_band,
    operating_points,
    pareto_front,
)

_RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_FRONT: dict[str, Any] = {
    "color": VERDICT_COLORS["pass"],
    "linewidth": 1.2,
    "linestyle": "dashdot",
    "zorder": 2,
}

_SIDES = (
    (1, 0, "left", "center"),
    (-1, 0, "right", "center"),
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
)
_CORNERS = (
    (1, 1, "left", "bottom"),
    (1, -1, "left", "top"),
    (-1, 1, "right", "bottom"),
    (-1, -1, "right", "top"),
)
_PLACES = tuple(
    (x * far, y * far, horizontal, vertical)
    for far in (12, 20, 32, 46, 62, 80, 100)
    for x, y, horizontal, vertical in (*_SIDES, *_CORNERS)
)
"""Where a name may stand around its marker, in points, the nearest first."""


def accuracy_latency(result: RunResult) -> Figure | None:
    """Draw accuracy over the latency ratio; ``None`` if nothing was both scored and timed.

    The bars are 95 % intervals of the ratio, the area of a marker grows with the bytes shipped, the grey
    band is the reference against itself (differences inside it are noise), the line is the accuracy floor.
    A line joins the Pareto front of those that passed, over accuracy, latency and size; what is dominated is
    hollow.
    """
    points = operating_points(result)
    if not points:
        return None
    figure = new_figure(5.8, 4.6)
    axes = figure.add_subplot()
    dress(axes, title="Accuracy over latency", x="latency / reference (left is faster)", y="accuracy")
    _draw_noise(axes, result)
    _draw_points(axes, points)
    _draw_front(axes, points)
    _scale(axes, points, accuracy_floor(result))
    _draw_floor(axes, accuracy_floor(result))
    legend_below(figure, _explain(points), columns=4)
    _place_labels(figure, axes, points)
    return figure


def _draw_noise(axes: Axes, result: RunResult) -> None:
    axes.axvspan(*noise_band(result), color=QUIET, alpha=0.18, linewidth=0)
    axes.axvline(1.0, color=QUIET, linewidth=1, linestyle="dotted")


def _draw_points(axes: Axes, points: Sequence[OperatingPoint]) -> None:
    largest = max(point.size_bytes for point in points)
    for point in points:
        color = VERDICT_COLORS[point.state]
        reach = [[max(0.0, point.ratio - point.low)], [max(0.0, point.high - point.ratio)]]
        axes.errorbar(point.ratio, point.accuracy, xerr=reach, fmt="none", ecolor=color, capsize=3, zorder=3)
        axes.scatter(
            point.ratio,
            point.accuracy,
            s=40 + 220 * point.size_bytes / max(1, largest),
            c="none" if point.is_dominated else color,
            marker=VERDICT_MARKERS[point.state],
            edgecolors=color if point.is_dominated else "white",
            linewidths=1.4 if point.is_dominated else 0.8,
            alpha=0.9,
            zorder=4,
        )


def _draw_front(axes: Axes, points: Sequence[OperatingPoint]) -> None:
    front = pareto_front(points)
    axes.plot([point.ratio for point in front], [point.accuracy for point in front], **_FRONT)


def _scale(axes: Axes, points: Sequence[OperatingPoint], floor: float | None) -> None:
    heights = [point.accuracy for point in points] + ([] if floor is None else [floor])
    margin = max(0.004, 0.22 * (max(heights) - min(heights)))
    axes.set_ylim(max(-0.02, min(heights) - margin), min(1.02, max(heights) + margin))
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= min(high, 1.0 + 1e-9)])
    left, right = min(0.8, *(p.low for p in points)) / 1.6, max(1.25, *(p.high for p in points)) * 1.6
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_RATIOS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} x"))
    axes.set_xlim(left, right)


def _draw_floor(axes: Axes, floor: float | None) -> None:
    if floor is None:
        return
    bottom = axes.get_ylim()[0]
    axes.axhspan(bottom, floor, color=VERDICT_COLORS["fail"], alpha=0.08, linewidth=0)
    axes.axhline(floor, color=VERDICT_COLORS["fail"], linewidth=1.2, linestyle="dashed")
    axes.annotate(
        f"accuracy floor {floor:.4f}",
        (0.01, floor),
        xycoords=("axes fraction", "data"),
        xytext=(0, -3),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=VERDICT_COLORS["fail"],
    )


def _explain(points: Sequence[OperatingPoint]) -> list[Line2D]:
    states = [state for state in VERDICT_COLORS if any(point.state == state for point in points)]
    handles = [
        Line2D([], [], color=VERDICT_COLORS[s], marker=VERDICT_MARKERS[s], linestyle="none", label=s)
        for s in states
    ]
    if any(point.is_dominated for point in points):
        hollow: dict[str, Any] = {
            "marker": VERDICT_MARKERS["pass"],
            "markerfacecolor": "none",
            "linestyle": "none",
        }
        handles.append(Line2D([], [], color=VERDICT_COLORS["pass"], label="pass, dominated", **hollow))
    if pareto_front(points):
        handles.append(Line2D([], [], label="Pareto front", **_FRONT))
    return handles


def _place_labels(figure: Figure, axes: Axes, points: Sequence[OperatingPoint]) -> None:
    """Write each name at the first of many places around its marker that covers no marker, name or line."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what is placed by pixels must stay there
    at = {point: axes.transData.transform((point.ratio, point.accuracy)) for point in points}
    scale = figure.dpi / 72
    taken = [Bbox.from_bounds(x - 9 * scale, y - 9 * scale, 18 * scale, 18 * scale) for x, y in at.values()]
    line = [at[point] for point in pareto_front(points)]
    for (x, y), (to_x, to_y) in pairwise(line):
        steps = np.linspace((x, y), (to_x, to_y), num=max(2, int(math.dist((x, y), (to_x, to_y)) / 10)))
        taken += [Bbox.from_bounds(a - 3 * scale, b - 3 * scale, 6 * scale, 6 * scale) for a, b in steps]
    for point in sorted(points, key=lambda point: (-point.accuracy, point.ratio)):
        text = f"{shorten(point.name, 24)}, {human_bytes(point.size_bytes)}"
        taken.append(_place(axes, point, text, taken, renderer))


def _place(
    axes: Axes, point: OperatingPoint, text: str, taken: Sequence[Bbox], renderer: RendererAgg
) -> Bbox:
    note = axes.annotate(
        text,
        (point.ratio, point.accuracy),
        xytext=(0, 0),
        textcoords="offset points",
        fontsize=8.5,
        color=INK,
        arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.7, "shrinkB": 6},
        zorder=5,
    )
    best_cost, best_place, best_box = math.inf, _PLACES[0], Bbox.null()
    for place in _PLACES:
        x, y, horizontal, vertical = place
        note.set(position=(x, y), horizontalalignment=horizontal, verticalalignment=vertical)
        note.update_positions(renderer)
        # Of the text alone, without the line to its marker, and with some air.
        box = Text.get_window_extent(note, renderer).padded(5)
        cost = _outside(box, axes.get_window_extent()) + sum(_overlap(box, other) for other in taken)
        if cost < best_cost:
            best_cost, best_place, best_box = cost, place, box
        if cost == 0:
            break
    x, y, horizontal, vertical = best_place
    note.set(position=(x, y), horizontalalignment=horizontal, verticalalignment=vertical)
    return best_box


def _overlap(one: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(one, other)
    return 0.0 if common is None else float(common.width * common.height)


def _outside(box: Bbox, frame: Bbox) -> float:
    return float(box.width * box.height) - _overlap(box, frame)
