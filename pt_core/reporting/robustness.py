"""The pictures of robustness: accuracy over the strength of each perturbation, a line per variant."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pt_core.decision.result import RunResult, VariantResult
from pt_core.reporting.figure import dress, legend_below, new_figure, shorten, variant_style

_EPSILON = "epsilon, relative to the input's range or deviation"
_SEVERITY = "severity"

ATTACKS = {
    "fgsm": ("FGSM", _EPSILON),
    "pgd": ("PGD (L-infinity)", _EPSILON),
    "pgd-l2": ("PGD (L2)", "L2 radius, relative to the input's range or deviation"),
    "square": ("Square, by queries alone", _EPSILON),
    "gaussian-noise": ("Gaussian noise", "sigma, relative to the input's range or deviation"),
    "blur": ("blur", _SEVERITY),
    "contrast": ("low contrast", _SEVERITY),
    "brightness": ("brightness", _SEVERITY),
    "jpeg": ("JPEG", _SEVERITY),
    "occlusion": ("occlusion", _SEVERITY),
    "missing-values": ("missing values", _SEVERITY),
}
"""Name and axis of each perturbation's picture."""

Point = tuple[float, float]


def robustness_figures(result: RunResult) -> dict[str, Figure]:
    """Return a figure per perturbation by name; corruptions of one severity share the figure "corruptions"."""
    found = [attack for attack in ATTACKS if any(_points(variant, attack) for variant in result.variants)]
    single = [attack for attack in found if len(_strengths(result, attack)) == 1 and _is_corruption(attack)]
    alone = [attack for attack in found if attack not in single]
    figures = {attack: robustness(result, attack) for attack in alone}
    return figures | ({"corruptions": corruptions(result, single)} if single else {})


def describe(name: str) -> str:
    """Return what the figure of that name shows, for those who cannot see it."""
    shown = "corruptions" if name == "corruptions" else ATTACKS[name][0]
    return f"Accuracy of each variant under {shown}"


def robustness(result: RunResult, attack: str) -> Figure:
    """Draw accuracy over the strength of one perturbation, the clean accuracy at strength 0."""
    title, unit = ATTACKS[attack]
    figure, axes = _chart(f"Accuracy under {title}", unit)
    lines = {
        variant.name: [(0.0, variant.evaluation.accuracy.accuracy), *_points(variant, attack)]
        for variant in result.variants
        if variant.evaluation
    }
    _draw(result, figure, axes, lines)
    return figure


def corruptions(result: RunResult, attacks: list[str]) -> Figure:
    """Draw the accuracy under several corruptions of one severity each, side by side."""
    severities = {f"{strength:g}" for attack in attacks for strength in _strengths(result, attack)}
    figure, axes = _chart("Accuracy under corruptions", f"each at severity {' or '.join(sorted(severities))}")
    lines = {
        variant.name: [
            (float(place), accuracy)
            for place, attack in enumerate(attacks)
            for _, accuracy in _points(variant, attack)
        ]
        for variant in result.variants
    }
    _draw(result, figure, axes, lines, joined=False)
    axes.set_xticks(range(len(attacks)), [ATTACKS[attack][0] for attack in attacks], rotation=20)
    axes.set_xlim(-0.6, len(attacks) - 0.4)
    return figure


def _chart(title: str, x: str) -> tuple[Figure, Axes]:
    figure = new_figure(5.4, 4.0)
    axes = figure.add_subplot()
    dress(axes, title=title, x=x, y="accuracy")
    axes.set_ylim(-0.02, 1.04)
    return figure, axes


def _draw(
    result: RunResult,
    figure: Figure,
    axes: Axes,
    lines: Mapping[str, list[Point]],
    *,
    joined: bool = True,
) -> None:
    handles: list[Artist] = []
    shown = {name: points for name, points in lines.items() if points}
    for place, (name, points) in enumerate(shown.items()):
        color, marker, dashes = variant_style(result, name)
        # Unjoined markers of equal height would hide each other.
        shift = 0.0 if joined else 0.6 * (place / max(1, len(shown) - 1) - 0.5)
        handles += axes.plot(
            [x + shift for x, _ in points],
            [accuracy for _, accuracy in points],
            label=shorten(name, 28),
            color=color,
            marker=marker,
            linestyle=dashes if joined else "none",
            markersize=5,
            alpha=0.9,
        )
    legend_below(figure, handles, columns=3)


def _points(variant: VariantResult, attack: str) -> list[Point]:
    """Return (strength, accuracy) in rising strength."""
    points = variant.evaluation.robustness if variant.evaluation else ()
    return sorted((point.strength, point.accuracy) for point in points if point.attack == attack)


def _strengths(result: RunResult, attack: str) -> set[float]:
    return {strength for variant in result.variants for strength, _ in _points(variant, attack)}


def _is_corruption(attack: str) -> bool:
    return ATTACKS[attack][1] == _SEVERITY
