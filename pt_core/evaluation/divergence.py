"""Find where two artifacts of one network part: the first layer over tolerance along the chain, the worst layers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.artifacts.layers import Layer
from pt_core.artifacts.tensors import read_golden
from pt_core.bundle import check_digest
from pt_core.data.dataset import load_split
from pt_core.errors import PtCoreError
from pt_core.evaluation.difference import (
    Divergence,
    DivergeRequest,
    LayerDifference,
    LinkDifference,
    LinkState,
    explain,
)
from pt_core.evaluation.layer_errors import LayerErrors, worst_first
from pt_core.evaluation.parity_metrics import ANOTHER_RUNTIME, TOLERANCES
from pt_core.evaluation.report import LOGITS as STORED_LOGITS
from pt_core.evaluation.report import EvaluationReport
from pt_core.evaluation.stages import Stage, stages_between

BATCH_SIZES = (4, 1, 7)
"""Tried in turn until something differs: a batch that was baked in shows at some sizes only."""
MAX_RANKED = 20
"""How many layers are listed."""

_MAX_BATCHES = 2
_REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, PtCoreError)


def diverge(request: DivergeRequest) -> Divergence:
    """Return where two artifacts part, on the samples that they differ on most where those are known.

    Raises:
        IntegrityError: the bytes of an artifact are not those that its record names.
    """
    check_digest(request.a)
    if not request.is_staged:
        check_digest(request.b)
    return find_divergence(request.a, request.b, _samples(request))


def find_divergence(a: Artifact, b: Artifact, samples: NDArray[np.float32]) -> Divergence:
    """Return where two artifacts part on these samples, (N, *input_shape) float32."""
    with tempfile.TemporaryDirectory() as scratch:
        stages = stages_between(a, b, Path(scratch))
        usual = _compare(stages, (a, b), _batches(samples, BATCH_SIZES[0], len(samples)))
        found = usual
        for size in BATCH_SIZES[1:]:
            if not found.agrees:
                return found
            found = _compare(stages, (a, b), _batches(samples, size, _MAX_BATCHES * size))
    return usual if found.agrees else found


class _Comparison:
    """One link, or the two ends: what is compared with what, and how it went."""

    def __init__(self, source: str, target: Stage, precision: Precision) -> None:
        self.source = source
        self.target = target
        self.precision = precision
        self.errors = LayerErrors(TOLERANCES[precision])
        self.failure: str | None = None
        self.missing: str | None = None

    def describe(self) -> LinkDifference:
        differences = self.errors.differences()
        first = next((one for one in differences if not one.within), None)
        return LinkDifference(
            source=self.source,
            target=self.target.label,
            state=self._state(first, num_layers=len(differences)),
            precision=self.precision,
            max_relative_error=TOLERANCES[self.precision].max_relative_error,
            num_layers=len(differences),
            first=first,
            note=self.failure or self.missing or self.target.note,
        )

    def _state(self, first: LayerDifference | None, *, num_layers: int) -> LinkState:
        if first is not None or self.failure:
            return "differs"
        if not num_layers:
            return "cannot be compared"
        return "cannot be opened" if self.target.note else "agrees"


def _compare(
    stages: Sequence[Stage],
    ends: tuple[Artifact, Artifact],
    batches: Sequence[NDArray[np.float32]],
) -> Divergence:
    a, b = ends
    links = [_Comparison(s.base, s, s.precision) for s in stages if s.base is not None]
    start = next(stage.label for stage in stages if stage.artifact.digest == a.digest)
    wholes = [_Comparison(start, s, _precision(a, b)) for s in stages if s.artifact.digest == b.digest]
    for batch in batches:
        _add_batch(stages, [*links, *wholes], batch)
    chain = tuple(link.describe() for link in links)
    link = next((link for link in chain if link.state == "differs"), None)
    between = wholes[-1].describe()
    first = link.first if link else between.first
    differs = link is not None or between.state == "differs"
    unknown = None if differs else _unknown(stages, chain, between)
    return Divergence(
        a=a.chain,
        b=b.chain,
        num_samples=sum(len(batch) for batch in batches),
        batch_size=len(batches[0]),
        precision=between.precision,
        max_relative_error=between.max_relative_error,
        agrees=not differs and unknown is None,
        first=first,
        link=link,
        ranked=_ranked(wholes, link),
        chain=chain,
        sentence=explain(first, link, between.max_relative_error, unknown),
        unknown=unknown,
    )


def _unknown(stages: Sequence[Stage], chain: Sequence[LinkDifference], between: LinkDifference) -> str | None:
    """Return what could not be compared and why, unless everything was.

    A form that is only made to be looked into and that nothing is compared with is no part of the chain.
    """
    closed = {stage.label for stage in stages if stage.opening is None}
    aside = closed - {link.source for link in chain} - {between.target}
    # The ends first: they are what was asked about.
    for link in (between, *chain):
        if link.state == "cannot be compared" and link.target not in aside:
            return f"{link.source} and {link.target} cannot be compared: {link.note or 'no layer is in both'}"
    return None


def _ranked(wholes: Sequence[_Comparison], link: LinkDifference | None) -> tuple[LayerDifference, ...]:
    """Return the layers by damage, as executed if that is what differs, else where most of them can be seen."""
    found = [whole.errors.differences() for whole in reversed(wholes)]
    is_executed = link is not None and link.target == wholes[-1].target.label
    return worst_first(found[0] if is_executed else max(found, key=len), MAX_RANKED)


def _add_batch(
    stages: Sequence[Stage], comparisons: Sequence[_Comparison], batch: NDArray[np.float32]
) -> None:
    """Run every stage on a batch; the layers of one are dropped once nothing is left to compare with them."""
    layers: dict[str, tuple[Layer, ...]] = {}
    waiting = list(comparisons)
    for stage in stages:
        if stage.opening is None:
            _miss(waiting, stage, stage.note)
            continue
        try:
            layers[stage.label] = tuple(stage.opening.layers(batch))
        except _REFUSALS as error:
            problem = f"batch size {len(batch)}: {type(error).__name__}: {str(error).strip()[:300]}"
            for comparison in waiting:
                if comparison.target is stage:
                    comparison.failure = problem
            _miss(waiting, stage, problem)
        for comparison in [c for c in waiting if c.source in layers and c.target.label in layers]:
            comparison.errors.add(layers[comparison.target.label], layers[comparison.source])
            waiting.remove(comparison)
        needed = {label for c in waiting for label in (c.source, c.target.label)}
        layers = {label: found for label, found in layers.items() if label in needed}


def _miss(waiting: Sequence[_Comparison], stage: Stage, why: str | None) -> None:
    """Tell what is compared with a stage that did not run why it is not."""
    for comparison in waiting:
        if comparison.source == stage.label:
            comparison.missing = why


def _precision(a: Artifact, b: Artifact) -> Precision:
    """Return the precision that decides how far two artifacts may be apart: the coarser one's."""
    order: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8")
    coarse = max(a.precision, b.precision, key=order.index)
    return coarse if a.precision != b.precision else ANOTHER_RUNTIME[coarse]


def _batches(samples: NDArray[np.float32], size: int, most: int) -> list[NDArray[np.float32]]:
    """Return at most so many samples in whole batches, the first of them once more where the last one needs it."""
    count = -(-min(len(samples), most) // size)
    rows = np.arange(count * size).reshape(count, size) % len(samples)
    return [np.ascontiguousarray(samples[row]) for row in rows]


def _samples(request: DivergeRequest) -> NDArray[np.float32]:
    if request.dataset is None:
        return read_golden(request.a)[0][: request.num_samples]
    check_digest(request.dataset)
    if request.a_evaluation and request.b_evaluation:
        test = load_split(request.dataset, "test")
        rows = _worst_rows(request.a_evaluation, request.b_evaluation, np.asarray(test.ids))
        return np.array(test.x[np.sort(rows[: request.num_samples])])
    return np.array(load_split(request.dataset, "calibration").x[: request.num_samples])


def _worst_rows(a: EvaluationReport, b: EvaluationReport, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of the test split by how far the logits are apart, another class before all others."""
    check_digest(a)
    check_digest(b)
    expected, observed = (load_file(Path(report.directory) / STORED_LOGITS) for report in (a, b))
    is_flipped = expected["logits"].argmax(axis=1) != observed["logits"].argmax(axis=1)
    error = np.abs(expected["logits"] - observed["logits"]).max(axis=1)
    order = np.lexsort((-error, ~is_flipped))
    row_of = {int(sample): row for row, sample in enumerate(ids)}
    return np.array([row_of[int(sample)] for sample in expected["ids"][order]], dtype=np.int64)
