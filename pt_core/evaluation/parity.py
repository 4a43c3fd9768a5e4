"""Compare a candidate's logits with its reference's on every batch of a grid; a difference is an error."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.artifact import Parity, ParityPoint, Precision
from pt_core.artifacts.plugin import EXPORT_BATCH, INPUT_NAME, OUTPUT_NAME, Predictor
from pt_core.errors import ParityError, PtCoreError
from pt_core.evaluation.parity_grid import BATCH_SIZES, Batch, make_grid
from pt_core.evaluation.parity_metrics import TOLERANCES, compare, errors, problems
from pt_core.modeling.spec import DynamicAxis
from pt_core.training.seed import seed_everything

__all__ = ["BATCH_SIZES", "Expectation", "check_parity", "expect", "meet", "observe"]

MAX_SELF_ERROR = 1e-6
"""Largest relative difference between two runs of one predictor on the same inputs; dropout gives 0.1 and more."""

_FAR = 5
"""How many times the error of the export's batch another batch's must be to be of another kind."""

# What runtimes raise when a graph only takes the batch it was traced with.
_REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, PtCoreError)


class Expectation(NamedTuple):
    """What a reference answers on every batch of the grid, after it was found to agree with itself."""

    batches: tuple[Batch, ...]
    """The grid."""
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
    holds_at: frozenset[int]
    """Sizes of the batches of usual samples without a problem."""
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
    who: str = "the reference",
) -> Expectation:
    """Return what a reference answers on the grid.

    Raises:
        ParityError: it raises, is not finite, or differs from itself: nothing can be compared with it.
        DataError: there is no sample.
    """
    batches = make_grid(samples, axes)
    logits = tuple(_reference_logits(reference, batch, who) for batch in batches)
    # In the other order: what depends on the calls before shows as well as what is drawn anew.
    error = max(
        _check_self(reference, batch, first, who)
        for batch, first in reversed(list(zip(batches, logits, strict=True)))
    )
    return Expectation(batches, logits, error)


def meet(expectation: Expectation, candidate: Predictor, precision: Precision) -> Parity:
    """Return a candidate's agreement with what is expected.

    Raises:
        ParityError: as :func:`check_parity`; the details list every problem.
    """
    found = observe(expectation, candidate, precision)
    if found.problems:
        first, *others = found.problems
        raise ParityError(f"{first}{_diagnose(found, expectation)}", details=others)
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
    holds_at = []
    for batch, expected in zip(expectation.batches, expectation.logits, strict=True):
        answer, wrong = _answer(candidate, batch, expected)
        answers.append(answer)
        if answer is not None:
            points.append(compare(answer, expected, sample_shape=batch.sample_shape))
            wrong += problems(points[-1], observed=answer, expected=expected, precision=precision)
        found += [f"{batch.where}: {problem}" for problem in wrong]
        if not wrong and batch.sample_shape is None:
            holds_at.append(len(expected))
    return Observation(tuple(points), tuple(found), frozenset(holds_at), tuple(answers))


def _answer(
    candidate: Predictor, batch: Batch, expected: NDArray[np.float32]
) -> tuple[NDArray[np.float32] | None, list[str]]:
    try:
        observed = candidate.logits(batch.inputs)
    except _REFUSALS as error:
        raised = f"{type(error).__name__}: {str(error)[:1000]}"
        return None, [f"the candidate raised {raised}; expected logits on every batch"]
    malformed = _wrong_form(observed, expected)
    return (None, [malformed]) if malformed else (observed, [])


def _reference_logits(reference: Predictor, batch: Batch, who: str) -> NDArray[np.float32]:
    try:
        logits = reference.logits(batch.inputs)
    except _REFUSALS as error:
        remedy = (
            "; give model.dynamic_axes only sizes that the network takes"
            if batch.sample_shape
            else "; a network in evaluation mode takes any number of samples, also one"
        )
        raise ParityError(
            f"{batch.where}: {who} raised {type(error).__name__}: {str(error)[:1000]}{remedy}"
        ) from error
    if not np.isfinite(logits).all():
        raise ParityError(f"{batch.where}: {who} gives logits that are not finite, expected numbers")
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


def _diagnose(found: Observation, expectation: Expectation) -> str:
    """Return what the batches that hold say about the cause, as a clause, or nothing."""
    sizes = {len(batch.inputs) for batch in expectation.batches if batch.sample_shape is None}
    wrong = sorted(sizes - found.holds_at)
    if not wrong:
        return "; usual samples agree: the graph keeps a size that model.dynamic_axes declares as varying"
    if EXPORT_BATCH not in found.holds_at or not _is_structural(found, wrong):
        return ""
    return (
        f"; it agrees at batch size {EXPORT_BATCH}, which it was exported with, and not at "
        f"{', '.join(map(str, wrong))}: the network's code computes with the batch size, branches on it or reshapes "
        "to it, and the graph keeps what it did then; write it with -1 or operations on whole tensors"
    )


def _is_structural(found: Observation, wrong: list[int]) -> bool:
    """Return whether a wrong batch is far from the export's: rounding that just misses a tolerance is everywhere."""
    error = {point.batch_size: point.relative_error for point in found.points if point.sample_shape is None}
    return any(error.get(size, math.inf) > _FAR * error[EXPORT_BATCH] for size in wrong)
