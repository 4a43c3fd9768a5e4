"""report.html: one self-contained page about a run, readable on a phone, the verdict first."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from pt_core.decision.compare import comparison_rows, human_bytes
from pt_core.decision.result import RunResult, VariantResult
from pt_core.evaluation.report import Undefined
from pt_core.files import write_bytes_atomically, write_text_atomically
from pt_core.record import Record
from pt_core.reporting.figure import to_bytes
from pt_core.reporting.plots import ROBUSTNESS, run_figures, variant_figures
from pt_core.reporting.robustness import describe

REPORT = "report.html"

_UNDEFINED = "-"
_RUN_PICTURES = {
    "accuracy_latency": "Accuracy of each variant over its latency ratio, with the accuracy floor",
    "training": "Loss and accuracy per epoch",
}
_VARIANT_PICTURES = {
    "confusion_matrix": "Confusion matrix",
    "roc": "ROC curves",
    "pr": "Precision-recall curves",
    "reliability": "Reliability diagram",
}


class Picture(Record):
    """An image inside the page."""

    uri: str
    """A ``data:`` address, so that the page needs no other file."""
    alt: str
    """What it shows, for those who cannot see it."""


class Drawings(NamedTuple):
    """Every figure of a run, drawn once for all forms."""

    run: dict[str, Figure]
    """Name to figure, of the whole run."""
    variants: dict[str, dict[str, Figure]]
    """Name to figure, of each variant by its name."""


def render_report(result: RunResult) -> str:
    """Return the page; it loads nothing from anywhere, and every name in it is escaped.

    Raises:
        IntegrityError: an evaluation on disk is not intact.
    """
    return _render(result, _draw(result))


def write_report(result: RunResult, folder: Path) -> Path:
    """Write report.html and every picture as PNG into ``folder``; return the page's path.

    Each file is whole or absent at any moment, and the page comes last. A picture of a variant has its
    name in front, e.g. ``onnx-confusion_matrix.png``.

    Raises:
        IntegrityError: an evaluation on disk is not intact.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawings = _draw(result)
    figures = dict(drawings.run)
    for variant, own in drawings.variants.items():
        figures |= {f"{variant}-{name}": figure for name, figure in own.items()}
    for name, figure in figures.items():
        write_bytes_atomically(folder / f"{name}.png", to_bytes(figure, "png"))
    write_text_atomically(folder / REPORT, _render(result, drawings))
    return folder / REPORT


def _draw(result: RunResult) -> Drawings:
    return Drawings(run_figures(result), {v.name: variant_figures(v) for v in result.variants})


def _render(result: RunResult, drawings: Drawings) -> str:
    rows = comparison_rows(result)
    template = _templates().get_template("report.html.j2")
    return template.render(
        result=result,
        rows=rows,
        robust=next((row.robust_metric for row in rows if row.robust_metric), None),
        pictures={name: _picture(figure, _describe(name)) for name, figure in drawings.run.items()},
        robustness=[name for name in drawings.run if name.startswith(ROBUSTNESS)],
        families={key: _family(key, drawings.variants) for key in _VARIANT_PICTURES},
        not_measured=[
            v for v in result.variants if v.state != "built" or (v.artifact and v.artifact.not_run)
        ],
        parted=[variant for variant in result.variants if variant.divergence],
        artifacts={v.name: v.artifact for v in result.variants if v.artifact},
        evaluated=[variant for variant in result.variants if variant.evaluation],
        undefined_metrics=_undefined(result.variants),
        environment=result.checkpoint.environment,
    )


def _undefined(variants: Sequence[VariantResult]) -> dict[Undefined, list[str]]:
    """Return what has no value and why, each with the names of the variants that it is undefined for."""
    found: dict[Undefined, list[str]] = {}
    for variant in variants:
        if variant.evaluation is None:
            continue
        for one in (*variant.evaluation.accuracy.undefined, *variant.evaluation.undefined):
            found.setdefault(one, []).append(variant.name)
    return found


def _describe(name: str) -> str:
    return _RUN_PICTURES.get(name) or describe(name.removeprefix(ROBUSTNESS))


def _family(key: str, found: Mapping[str, Mapping[str, Figure]]) -> list[Picture]:
    title = _VARIANT_PICTURES[key]
    return [_picture(own[key], f"{title} of {name}") for name, own in found.items() if key in own]


def _picture(figure: Figure, alt: str) -> Picture:
    # An image, not markup in the page: nothing in a picture can run, and its ids cannot clash.
    text = base64.b64encode(to_bytes(figure, "svg")).decode()
    return Picture(uri=f"data:image/svg+xml;base64,{text}", alt=alt)


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("pt_core.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "human_bytes": human_bytes,
        "number": _number,
        "ratio": _ratio,
        "count_or_dash": lambda count: _UNDEFINED if count is None else f"{count:,}",
        "short": lambda share: f"{share:.2f}",
        "rounded": lambda value: _UNDEFINED if value is None else f"{value:,.0f}",
        "seconds": lambda time: _UNDEFINED if time is None else f"{time:.1f} s",
        "percent": lambda share: f"{share:.1%}",
        "is_web": lambda url: url.startswith(("http://", "https://")),
    }
    return templates


def _number(value: float | None) -> str:
    # Adding zero turns -0.0 into 0.0.
    return _UNDEFINED if value is None else f"{value + 0.0:.4f}"


def _ratio(value: float | None) -> str:
    """Return three digits, however small: 0.114 beside 0.115 is a difference that decides."""
    return _UNDEFINED if value is None else f"{value:#.3g}".rstrip(".")
