"""Compare a candidate's logits with its reference's at every batch size of a grid; a difference is an error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.artifact import Parity, ParityPoint, Precision
from pt_core.artifacts.plugin import Predictor
from pt_core.errors import DataError, ParityError, PtCoreError

BATCH_SIZES = (1, 2, 3, 7, 64)
"""A batch baked in at export is exact at one size and wrong at another, so one size proves nothing."""

MAX_SELF_ERROR = 1e-6
"""Largest relative difference between two runs of one predictor on the same inputs; dropout gives 0.1 and more."""


class Tolerance(NamedTuple):
    """How far a precision may be from its reference."""

    max_relative_error: float
    """On the largest absolute difference, divided by the largest absolute reference logit, each of centred logits."""
    min_cosine: float
    """On the cosine of all centred logits of a batch."""


TOLERANCES: dict[Precision, Tolerance] = {
    # Another order of the same FP32 sums: 2e-7 to 2e-6 is usual, fused batch normalisation included.
    "fp32": Tolerance(1e-4, 0.9999),
    # 11 bits of significand: 5e-4 a rounding, some layers deep.
    "fp16": Tolerance(0.01, 0.999),
    # 8 bits of significand: 4e-3 a rounding, some layers deep.
    "bf16": Tolerance(0.05, 0.995),
    # 256 levels for the whole range of a tensor. This catches a broken graph (unrelated logits have a cosine
    # near 0 and a relative error near 1); how much accuracy rounding costs is for the gate to judge.
    "int8": Tolerance(0.35, 0.95),
}


def check_parity(
    reference: Predictor,
    candidate: Predictor,
    samples: NDArray[np.float32],
    precision: Precision,
    *,
    batch_sizes: tuple[int, ...] = BATCH_SIZES,
) -> Parity:
    """Return the agreement of two predictors, after each was found to agree with itself.

    Logits are centred before they are compared: each row's mean is subtracted. Softmax and the predicted class
    do not depend on it, and a large one, as of logits of 20 and more, would hide any error.

    Args:
        reference: what is right.
        candidate: what is checked.
        samples: (N, *input_shape) float32; repeated where a batch is larger than N.
        precision: of the candidate; decides the tolerance.
        batch_sizes: the grid.

    Raises:
        ParityError: a predictor is random, or the candidate's logits differ in shape, type, finiteness or by
            more than the tolerance; the message has the batch size, the observed and the expected value.
        DataError: there is no sample.
    """
    if not len(samples):
        raise DataError("parity: no samples to compare on, expected at least one")
    batches = [_take(samples, size, offset) for offset, size in enumerate(batch_sizes)]
    self_error = max(_check_self(reference, batch, "the reference") for batch in batches)
    points = []
    for batch in batches:
        expected = reference.logits(batch)
        observed = _candidate_logits(candidate, batch)
        _check_form(observed, expected)
        point = _compare(observed, expected)
        _check_tolerance(point, precision)
        points.append(point)
    _check_self(candidate, batches[-1], "the candidate")
    return Parity(
        precision=precision,
        max_relative_error=TOLERANCES[precision].max_relative_error,
        self_max_abs_error=self_error,
        points=tuple(points),
    )


def _take(samples: NDArray[np.float32], size: int, offset: int) -> NDArray[np.float32]:
    """Return ``size`` samples from ``offset`` on, starting again at the end; each batch begins elsewhere."""
    return np.ascontiguousarray(samples[(offset + np.arange(size)) % len(samples)])


def _check_self(predictor: Predictor, batch: NDArray[np.float32], who: str) -> float:
    first, second = predictor.logits(batch), predictor.logits(batch)
    if not np.isfinite(first).all():
        raise ParityError(
            f"batch size {len(batch)}: {who} gives logits that are not finite, expected numbers"
        )
    error, relative = _errors(second, first)
    if not relative <= MAX_SELF_ERROR:
        raise ParityError(
            f"batch size {len(batch)}: {who} differs from itself by a relative {relative:.3g}, expected at most "
            f"{MAX_SELF_ERROR:g}: it is random, as with dropout left on; nothing can be compared with it"
        )
    return error


def _candidate_logits(candidate: Predictor, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    # What runtimes raise when a graph only takes the batch it was traced with.
    try:
        return candidate.logits(batch)
    except (RuntimeError, ValueError, TypeError, AssertionError, PtCoreError) as error:
        raise ParityError(
            f"batch size {len(batch)}: the candidate raised {type(error).__name__}: {str(error)[:1000]}; "
            "expected logits at every batch size"
        ) from error


def _check_form(observed: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    size = len(expected)
    if observed.shape != expected.shape:
        raise ParityError(f"batch size {size}: logits of shape {observed.shape}, expected {expected.shape}")
    if observed.dtype != np.float32:
        raise ParityError(f"batch size {size}: logits are {observed.dtype}, expected float32")
    num_broken = int((~np.isfinite(observed)).sum())
    if num_broken:
        raise ParityError(f"batch size {size}: {num_broken} of {observed.size} logits are not finite")


def _compare(observed: NDArray[np.float32], expected: NDArray[np.float32]) -> ParityPoint:
    error, relative = _errors(observed, expected)
    return ParityPoint(
        batch_size=len(expected),
        max_abs_error=error,
        relative_error=relative,
        cosine=_cosine(_centred(observed), _centred(expected)),
        top1_agreement=float((observed.argmax(axis=1) == expected.argmax(axis=1)).mean()),
    )


def _check_tolerance(point: ParityPoint, precision: Precision) -> None:
    limit = TOLERANCES[precision]
    if not point.relative_error <= limit.max_relative_error:
        raise ParityError(
            f"batch size {point.batch_size}: relative error {point.relative_error:.3g} "
            f"(absolute {point.max_abs_error:.3g}), expected at most {limit.max_relative_error:g} for {precision}"
        )
    if not point.cosine >= limit.min_cosine:
        raise ParityError(
            f"batch size {point.batch_size}: cosine {point.cosine:.4f}, expected at least {limit.min_cosine:g} "
            f"for {precision}"
        )


def _errors(observed: NDArray[np.float32], expected: NDArray[np.float32]) -> tuple[float, float]:
    """Return the largest absolute difference, and that of centred logits over the largest centred expected one."""
    error = float(np.abs(observed.astype(np.float64) - expected).max())
    centred = _centred(expected)
    largest = float(np.abs(centred).max())
    relative = float(np.abs(_centred(observed) - centred).max()) / max(
        largest, float(np.finfo(np.float32).tiny)
    )
    return error, relative


def _centred(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    centred: NDArray[np.float64] = wide - wide.mean(axis=1, keepdims=True)
    return centred


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms == 0:
        return float(np.array_equal(a, b))
    return float(np.clip(np.vdot(a, b) / norms, -1, 1))
