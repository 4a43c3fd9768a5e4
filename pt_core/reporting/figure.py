"""The look of every picture: size, ink, palette, and the one way from a figure to bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Literal

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from pt_core.decision.result import RunResult
from pt_core.decision.verdict import State

PictureFormat = Literal["png", "svg"]

INK = "#1b1f24"
"""Text, axes and the reference; turns light where the reader's page is dark."""
QUIET = "#8a929b"
"""What stands behind: grids, other classes, limits; readable on white and on black."""

_DPI = 120
_DARK_INK = "#e6edf3"

# Okabe and Ito, https://jfly.uni-koeln.de/color/: told apart with any colour vision. Its yellow is left
# out (unreadable on white) and its black is INK, kept for the reference.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
_DASHES = ("solid", "dashed", "dashdot", "dotted")

VERDICT_COLORS: dict[State, str] = {
    "pass": "#009E73",
    "fail": "#D55E00",
    "insufficient": "#E69F00",
    "not measured": QUIET,
}
VERDICT_MARKERS: dict[State, str] = {"pass": "o", "fail": "X", "insufficient": "s", "not measured": "D"}


def variant_style(result: RunResult, name: str) -> tuple[str, str, str]:
    """Return colour, marker and dashes of a variant: the same in every picture of a run."""
    number = [variant.name for variant in result.variants].index(name)
    if name == result.reference:
        return INK, _MARKERS[0], _DASHES[0]
    others = [variant.name for variant in result.variants if variant.name != result.reference]
    place = others.index(name)
    dashes = _DASHES[(place // len(_PALETTE)) % len(_DASHES)]
    return _PALETTE[place % len(_PALETTE)], _MARKERS[number % len(_MARKERS)], dashes


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches, not known to pyplot and so closed by going out of scope."""
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="none")


def dress(axes: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Give axes their title, labels, quiet grid and open frame."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(visible=True, color=QUIET, alpha=0.25, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def legend_below(figure: Figure, handles: Sequence[Artist], *, columns: int) -> None:
    """Explain lines or markers below the axes, where they hide nothing and leave the width to the data."""
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        fontsize=8.5,
        frameon=False,
        labelcolor=INK,
    )


def to_bytes(figure: Figure, form: PictureFormat) -> bytes:
    """Draw a figure: PNG on white, or SVG without background whose ink follows the page's colour scheme."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a class may well be called "$5"
    with warnings.catch_warnings():
        # A class may be named in any script: a box in a PNG, and in an SVG the reader's own font has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # it is laid out now, for every form
        return _to_png(figure) if form == "png" else _to_svg(figure)


# Both print by hand what savefig would draw twice.


def _to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.set_facecolor("white")
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _to_svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.set_facecolor("none")
    # Text stays text: smaller, and found by search. A fixed salt and no date make equal pictures equal bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "pt-core", "font.family": "sans-serif"}):
        canvas = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
    figure.set_dpi(_DPI)  # print_svg leaves it at its own
    return _follow_color_scheme(buffer.getvalue().decode()).encode()


def _follow_color_scheme(svg: str) -> str:
    style = (
        f"<style>:root{{--ink:{INK}}}@media(prefers-color-scheme:dark){{:root{{--ink:{_DARK_INK}}}}}</style>"
    )
    head, body = svg.split("<defs>", 1)
    return f"{head}{style}<defs>{body.replace(INK, 'var(--ink)')}"


def shorten(text: str, limit: int = 14) -> str:
    """Return the text, cut to ``limit`` characters with an ellipsis."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
