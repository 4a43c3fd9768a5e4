"""report.html: one self-contained page about a run, readable on a phone, the verdict first."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from pt_core.decision.compare import comparison_rows
from pt_core.decision.result import RunResult, VariantResult
from pt_core.evaluation.report import Undefined
from pt_core.files import write_bytes_atomically, write_text_atomically
from pt_core.record import Record
from pt_core.reporting.charts import variants_chart
from pt_core.reporting.disagreements import find_disagreements
from pt_core.reporting.figure import to_bytes
from pt_core.reporting.page import render
from pt_core.reporting.plots import ROBUSTNESS, run_figures, variant_figures
from pt_core.reporting.robustness import describe

REPORT = "report.html"

INTERACTIVE = "accuracy_latency"
"""The figure that the page has as an interactive picture instead; its PNG is for places that show only images."""

_RUN_PICTURES = {
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
    return render(
        "report.html.j2",
        result=result,
        rows=rows,
        picture=variants_chart(result, rows),
        disagreements=find_disagreements(result),
        robust=next((row.robust_metric for row in rows if row.robust_metric), None),
        pictures={
            name: _picture(figure, _describe(name))
            for name, figure in drawings.run.items()
            if name != INTERACTIVE
        },
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
