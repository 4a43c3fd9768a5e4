"""Divergence: where two artifacts of one network first compute something else, link by link and layer by layer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.data.dataset import Dataset
from pt_core.evaluation.report import EvaluationReport
from pt_core.record import Record

LinkState = Literal["agrees", "differs", "cannot be opened", "cannot be compared"]


class LayerDifference(Record):
    """How far one layer's output is from the reference's; undefined where it is not finite."""

    layer: str
    """Path of the module in the network's code, its call in brackets where there is more than one."""
    kind: str
    """Class of the module, or the operation."""
    max_abs_error: float | None
    """Largest absolute difference of an element."""
    relative_error: float | None
    """The same, divided by the largest absolute element of the reference's output."""
    sqnr_db: float | None
    """Power of the reference's output over that of the error, in decibels; undefined without an error."""
    cosine: float | None
    """Cosine of the two outputs, flattened."""
    jump: float | None
    """Amplitude of the error as a share of the output's, less that of the layer before: the layer's own damage."""
    within: bool
    """Whether it is within the tolerance."""


class LinkDifference(Record):
    """One link of the chain: one form of the network against the form that it was made from."""

    source: str
    """What it was made from."""
    target: str
    """What was made."""
    state: LinkState
    """Whether the two agree, and how closely that could be seen."""
    precision: Precision
    """Decides the tolerance."""
    max_relative_error: float
    """The tolerance on the relative error of a layer."""
    num_layers: int
    """How many layers could be compared, the logits among them."""
    first: LayerDifference | None
    """The first layer over tolerance, in the order of execution; ``None`` where there is none."""
    note: str | None = None
    """Why it cannot be opened or compared."""


class Divergence(Record):
    """Where two artifacts of one network part."""

    a: str
    """What is right: its chain of steps."""
    b: str
    """What is compared with it."""
    num_samples: int
    """Samples compared on."""
    batch_size: int
    """Samples of each batch."""
    precision: Precision
    """Decides the tolerance between the two."""
    max_relative_error: float
    """The tolerance on the relative error of a layer between the two."""
    agrees: bool
    """Whether everything was compared, and no link and no layer between the two is over tolerance."""
    first: LayerDifference | None
    """The first layer over tolerance at the first link that has one, else between the two themselves."""
    link: LinkDifference | None
    """That link; ``None`` where rounding of several links adds up, or nothing differs."""
    ranked: tuple[LayerDifference, ...]
    """The layers by their own damage between the two, the worst first; a bounded number of them."""
    chain: tuple[LinkDifference, ...]
    """Every link between the two, in the order of the chain."""
    sentence: str
    """Where they part, as people read it."""
    unknown: str | None = None
    """What could not be compared and why, where that leaves open whether they part."""


class DivergeRequest(Record):
    """Find where two artifacts part."""

    a: Artifact
    """What is right."""
    b: Artifact
    """What is compared with it."""
    dataset: Dataset | None
    """Where samples come from; without it the golden inputs are compared on."""
    is_staged: bool = False
    """Whether ``b`` is not sealed yet, as one that is being checked."""
    a_evaluation: EvaluationReport | None = None
    """What was measured on ``a``: with that of ``b`` the samples they differ on most are compared on."""
    b_evaluation: EvaluationReport | None = None
    """What was measured on ``b``."""
    num_samples: int = Field(default=16, ge=1)
    """How many samples to compare on."""


def explain(
    first: LayerDifference | None, link: LinkDifference | None, limit: float, unknown: str | None = None
) -> str:
    """Return where two artifacts part, or what leaves that open, in one sentence."""
    if link is not None and first is None:
        return f"they part at the step {link.source} -> {link.target}: {link.note}"
    if first is None:
        return f"whether they part is not known: {unknown}" if unknown else "no layer is over tolerance"
    allowed = link.max_relative_error if link else limit
    where = f", at the step {link.source} -> {link.target}" if link else ", by what several steps add up to"
    error = "not finite" if first.relative_error is None else f"relative error {first.relative_error:.2g}"
    hidden = f" ({link.note})" if link and link.note else ""
    return (
        f"first layer over tolerance: {first.layer} ({first.kind}){where}: {error}, "
        f"allowed {allowed:g}{hidden}"
    )
