"""Compare a candidate's logits with its reference's on every batch of a grid; a difference is an error."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.artifact import Parity, ParityPoint, Precision
from pt_core.artifacts.plugin import EXPORT_BATCH, INPUT_NAME, OUTPUT_NAME, Predictor
from pt_core.errors import ParityError, PtCoreError
from pt_core.evaluation.parity_grid import BATCH_SIZES, Batch, in_export_batches, make_grid
from pt_core.evaluation.parity_metrics import TOLERANCES, compare, errors, problems
from pt_core.modeling.spec import DynamicAxis
from pt_core.training.seed import seed_everything

__all__ = ["BATCH_SIZES", "Expectation", "check_parity", "expect", "meet", "observe"]

MAX_SELF_ERROR = 1e-6
"""Largest relative difference between two runs of one predictor on the same inputs; dropout gives 0.1 and more."""

_FAR = 5
"""How many times the error of the export's batch another batch's must be to be of another kind."""

_MAX_QUOTE = 250

# What runtimes raise when a graph only takes the batch it was traced with.
_REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, PtCoreError)


class Expectation(NamedTuple):
    """What a reference answers on every batch of the grid, after it was found to agree with itself."""

    reference: Predictor
    """Who answered."""
    batches: tuple[Batch, ...]
    """The grid, without what the reference itself gives no numbers for."""
    logits: tuple[NDArray[np.float32], ...]
    """(N, num_classes) float32 for each batch."""
    self_max_abs_error: float
    """Largest absolute difference of the reference from itself."""


class Observation(NamedTuple):
    """How a candidate does on the grid."""

    points: tuple[ParityPoint, ...]
    """One for each batch that gave comparable logits."""
    problems: tuple[str, ...]
    """What is out of tolerance, one sentence each, the batch named."""
    wrong: tuple[Batch, ...]
    """The batches with a problem."""
    logits: tuple[NDArray[np.float32] | None, ...]
    """What it answered on each batch; ``None`` where that cannot be compared."""


def check_parity(
    reference: Predictor,
    candidate: Predictor,
    samples: NDArray[np.float32],
    precision: Precision,
    *,
    axes: tuple[DynamicAxis, ...] = (),
) -> Parity:
    """Return the agreement of two predictors, after each was found to agree with itself.

    Args:
        reference: what is right.
        candidate: what is checked.
        samples: (N, *input_shape) float32; repeated where a batch is larger than N.
        precision: of the candidate; decides the tolerance.
        axes: axes of one sample that may vary.

    Raises:
        ParityError: a predictor is random or keeps state, or the candidate's logits differ in names, shape, type,
            finiteness or by more than the tolerance; the message has the batch, the observed and the expected value.
        DataError: there is no sample.
    """
    return meet(expect(reference, samples, axes), candidate, precision)


def expect(
    reference: Predictor,
    samples: NDArray[np.float32],
    axes: tuple[DynamicAxis, ...] = (),
    *,
    example: NDArray[np.float32] | None = None,
    who: str = "the reference",
) -> Expectation:
    """Return what a reference answers on the grid.

    Args:
        reference: what is right.
        samples: (N, *input_shape) float32.
        axes: axes of one sample that may vary.
        example: what converters export with.
        who: how messages call the reference.

    Raises:
        ParityError: it raises, is not finite, or differs from itself: nothing can be compared with it.
        DataError: there is no sample.
    """
    grid = make_grid(samples, axes, example=example)
    batches, logits = zip(*_answers(reference, grid, who), strict=True)
    # In another order: what depends on the calls before shows as well as what is drawn anew.
    pairs = sorted(zip(batches, logits, strict=True), key=lambda pair: (pair[0].kind, -len(pair[1])))
    error = max(_check_self(reference, batch, first, who) for batch, first in reversed(pairs))
    return Expectation(reference, batches, logits, error)


def _answers(
    reference: Predictor, grid: tuple[Batch, ...], who: str
) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
    for batch in grid:
        logits = _reference_logits(reference, batch, who)
        if np.isfinite(logits).all():
            yield batch, logits
        elif batch.kind != "unlike":
            raise ParityError(f"{batch.where}: {who} gives logits that are not finite, expected numbers")


def meet(expectation: Expectation, candidate: Predictor, precision: Precision) -> Parity:
    """Return a candidate's agreement with what is expected.

    Raises:
        ParityError: as :func:`check_parity`; the details list every problem.
    """
    found = observe(expectation, candidate, precision)
    if found.problems:
        first, *others = found.problems
        cause = _diagnose(found, expectation, candidate, precision)
        raise ParityError(f"{first}{cause}", details=others)
    for batch, answer in reversed(list(zip(expectation.batches, found.logits, strict=True))):
        # The large batch is compared once: it costs more than all others together and would show nothing new.
        if answer is not None and len(answer) <= EXPORT_BATCH:
            _check_self(candidate, batch, answer, "the candidate")
    return Parity(
        precision=precision,
        max_relative_error=TOLERANCES[precision].max_relative_error,
        self_max_abs_error=expectation.self_max_abs_error,
        points=found.points,
    )


def observe(expectation: Expectation, candidate: Predictor, precision: Precision) -> Observation:
    """Return how a candidate does on every batch, whatever it does on one."""
    points: list[ParityPoint] = []
    answers: list[NDArray[np.float32] | None] = []
    found = _wrong_names(candidate)
    wrong_batches = []
    for batch, expected in zip(expectation.batches, expectation.logits, strict=True):
        # What lower precisions do far from the data is not what they are shipped for.
        skipped = batch.kind == "unlike" and precision != "fp32"
        answer, point, wrong = (None, None, []) if skipped else _try(candidate, batch, expected, precision)
        answers.append(answer)
        points += [point] if point and batch.kind != "unlike" else []
        found += [f"{batch.where}: {problem}" for problem in wrong]
        wrong_batches += [batch] if wrong else []
    return Observation(tuple(points), tuple(found), tuple(wrong_batches), tuple(answers))


def _try(
    candidate: Predictor, batch: Batch, expected: NDArray[np.float32], precision: Precision
) -> tuple[NDArray[np.float32] | None, ParityPoint | None, list[str]]:
    answer, wrong = _answer(candidate, batch, expected)
    if answer is None:
        return None, None, wrong
    point = compare(answer, expected, sample_shape=batch.sample_shape)
    return answer, point, list(problems(point, observed=answer, expected=expected, precision=precision))


def _answer(
    candidate: Predictor, batch: Batch, expected: NDArray[np.float32]
) -> tuple[NDArray[np.float32] | None, list[str]]:
    try:
        observed = candidate.logits(batch.inputs)
    except _REFUSALS as error:
        return None, [f"the candidate raised {_shorten(error)}; expected logits on every batch"]
    malformed = _wrong_form(observed, expected)
    return (None, [malformed]) if malformed else (observed, [])


def _reference_logits(reference: Predictor, batch: Batch, who: str) -> NDArray[np.float32]:
    try:
        logits = reference.logits(batch.inputs)
    except _REFUSALS as error:
        remedy = (
            "; give model.dynamic_axes only sizes that the network takes"
            if batch.kind == "resized"
            else "; a network in evaluation mode takes any number of samples, also one"
        )
        raise ParityError(f"{batch.where}: {who} raised {_shorten(error)}{remedy}") from error
    return logits


def _check_self(predictor: Predictor, batch: Batch, first: NDArray[np.float32], who: str) -> float:
    error, relative = errors(predictor.logits(batch.inputs), first)
    if not relative <= MAX_SELF_ERROR:
        raise ParityError(
            f"{batch.where}: {who} differs from itself by a relative {relative:.3g}, expected at most "
            f"{MAX_SELF_ERROR:g}: {_name_cause(predictor, batch)}; nothing can be compared with it"
        )
    return error


def _name_cause(predictor: Predictor, batch: Batch) -> str:
    """Tell randomness from state: it differs from call to call, and not if every generator is seeded the same."""
    free = [predictor.logits(batch.inputs) for _ in range(2)]
    seeded = []
    for _ in range(2):
        seed_everything(0)
        seeded.append(predictor.logits(batch.inputs))
    if not errors(*free)[1] <= MAX_SELF_ERROR and errors(*seeded)[1] <= MAX_SELF_ERROR:
        return "it is random, as with dropout left on (equal seeds give equal logits)"
    return (
        "it keeps state between calls, as a counter, a cache or a running mean does (equal seeds do not give "
        "equal logits), or draws random numbers of its own"
    )


def _shorten(error: Exception) -> str:
    """Return an error in one line; a runtime names itself at the beginning and the operation at the end."""
    text = " ".join(str(error).split())
    shown = text if len(text) <= 2 * _MAX_QUOTE else f"{text[:_MAX_QUOTE]} ... {text[-_MAX_QUOTE:]}"
    return f"{type(error).__name__}: {shown}"


def _wrong_names(candidate: Predictor) -> list[str]:
    info = candidate.runtime()
    return [
        f"{kind} named {', '.join(names)}, expected {expected}"
        for kind, names, expected in (
            ("inputs", info.inputs, INPUT_NAME),
            ("outputs", info.outputs, OUTPUT_NAME),
        )
        if names not in ((), (expected,))
    ]


def _wrong_form(observed: NDArray[np.float32], expected: NDArray[np.float32]) -> str | None:
    if observed.shape != expected.shape:
        return f"logits of shape {observed.shape}, expected {expected.shape}"
    if observed.dtype != np.float32:
        return f"logits are {observed.dtype}, expected float32"
    num_broken = int((~np.isfinite(observed)).sum())
    return f"{num_broken} of {observed.size} logits are not finite" if num_broken else None


def _diagnose(
    found: Observation, expectation: Expectation, candidate: Predictor, precision: Precision
) -> str:
    """Return what the batches that hold say about the cause, as a clause, or nothing."""
    if not found.wrong:
        return ""
    usual = [batch for batch in found.wrong if batch.kind == "usual"]
    if not usual and found.wrong[0].kind == "resized":
        return "; usual samples agree: the graph keeps a size that model.dynamic_axes declares as varying"
    sizes = [len(batch.inputs) for batch in usual]
    if EXPORT_BATCH in sizes or not (usual == [] or _is_structural(found, sizes)):
        return ""
    # The same samples, in batches of the export's size: are they what is wrong, or is it their number?
    if usual and _holds(expectation.reference, candidate, in_export_batches(usual[0]), precision):
        return (
            f"; the same samples agree in batches of {EXPORT_BATCH}, the size of the export, and not in batches of "
            f"{', '.join(map(str, sizes))}: the network's code computes with the batch size, branches on it or "
            "reshapes to it, and the graph keeps what it did then; write it with -1 or operations on whole tensors"
        )
    return (
        "; it agrees on the samples it was exported with and not on others: the network's code branches on values of "
        "the data or makes Python numbers of them, and the graph keeps what they were then; use torch.where or other "
        "operations on tensors"
    )


def _holds(
    reference: Predictor, candidate: Predictor, batches: tuple[Batch, ...], precision: Precision
) -> bool:
    return not any(_try(candidate, batch, reference.logits(batch.inputs), precision)[2] for batch in batches)


def _is_structural(found: Observation, sizes: list[int]) -> bool:
    """Return whether a wrong batch is far from the export's: rounding that just misses a tolerance is everywhere."""
    error = {point.batch_size: point.relative_error for point in found.points if point.sample_shape is None}
    return any(error.get(size, math.inf) > _FAR * error[EXPORT_BATCH] for size in sizes)
