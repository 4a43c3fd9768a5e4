"""How far two sets of logits are apart, and how far each precision may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.artifact import ParityPoint, Precision
from pt_core.inference.postprocess import centred

RELATIVE_FLOOR = 1e-3
"""Least divisor of a relative error, as a share of the largest absolute raw logit.

Float32 rounds a raw logit by 6e-8 of it; where all that a network says is a thousand times smaller than its logits,
that rounding would be counted as an error of the graph.
"""
ABSOLUTE_FLOOR = 1e-6
"""Least divisor of a relative error: logits that are all zero have no scale of their own."""


class Tolerance(NamedTuple):
    """How far a precision may be from its reference. It catches broken graphs; the gate judges accuracy."""

    max_relative_error: float
    """On the largest absolute difference, divided by the largest absolute reference logit, each of centred logits."""
    min_cosine: float
    """On the cosine of all centred logits of a batch."""
    min_sqnr_db: float
    """On the power of the centred reference logits over that of their error; unlike a cosine it sees a scale."""
    min_top1_agreement: float | None
    """On the samples whose two greatest reference logits are further apart than the relative error allows."""


ANOTHER_RUNTIME: dict[Precision, Precision] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8": "bf16"}
"""Tolerance of one precision on two runtimes: INT8 values rounded the other way are about a bf16 apart."""

TOLERANCES: dict[Precision, Tolerance] = {
    # Another order of the same FP32 sums: 2e-7 to 2e-6 (115 to 140 dB) is usual, fused batch normalisation
    # included. An error of 1e-4 in every logit at once would be 70 dB: 80 is for errors that are everywhere.
    "fp32": Tolerance(1e-4, 0.9999, 80, 1.0),
    # 11 bits of significand: 5e-4 a rounding (66 dB), some layers deep.
    "fp16": Tolerance(0.01, 0.999, 40, 1.0),
    # 8 bits of significand: 4e-3 a rounding (48 dB), some layers deep.
    "bf16": Tolerance(0.05, 0.995, 26, 1.0),
    # 256 levels for the whole range of a tensor. This catches a broken graph (unrelated logits have a cosine near 0,
    # an SQNR near 0 dB and a relative error near 1); 9 dB are an error of a third, or a scale that is off by one.
    # One sample beyond the calibrated ranges is clipped by right (0.43 was measured on a table), hence the wide
    # first number. Which classes change is how accuracy is lost by rounding, for the gate to judge: no top-1 here.
    "int8": Tolerance(0.6, 0.95, 9, None),
}


def compare(
    observed: NDArray[np.float32],
    expected: NDArray[np.float32],
    *,
    sample_shape: tuple[int, ...] | None = None,
) -> ParityPoint:
    """Return the agreement of two (N, num_classes) arrays of finite logits."""
    error, relative = errors(observed, expected)
    ours, reference = centred(observed), centred(expected)
    return ParityPoint(
        batch_size=len(expected),
        sample_shape=sample_shape,
        max_abs_error=error,
        relative_error=relative,
        cosine=_cosine(ours, reference),
        sqnr_db=_sqnr_db(ours, reference),
        top1_agreement=float((observed.argmax(axis=1) == expected.argmax(axis=1)).mean()),
    )


def errors(observed: NDArray[np.float32], expected: NDArray[np.float32]) -> tuple[float, float]:
    """Return the largest absolute difference, and that of centred logits over the largest centred expected one.

    Logits are centred, each row less its mean: softmax and the predicted class do not depend on it, and a large
    one, as of logits of 20 and more, would hide any error.
    """
    error = float(np.abs(observed.astype(np.float64) - expected).max())
    difference = np.abs(centred(observed) - centred(expected)).max()
    return error, float(difference) / _scale(expected)


def problems(
    point: ParityPoint,
    *,
    observed: NDArray[np.float32],
    expected: NDArray[np.float32],
    precision: Precision,
) -> Iterator[str]:
    """Yield each number of a point that is out of tolerance, with what was expected."""
    limit = TOLERANCES[precision]
    # Written so that a NaN is refused.
    if not point.relative_error <= limit.max_relative_error:
        yield (
            f"relative error {point.relative_error:.3g} (absolute {point.max_abs_error:.3g}), "
            f"expected at most {limit.max_relative_error:g} for {precision}"
        )
    if not point.cosine >= limit.min_cosine:
        yield f"cosine {point.cosine:.4f}, expected at least {limit.min_cosine:g} for {precision}"
    if point.sqnr_db is not None and not point.sqnr_db >= limit.min_sqnr_db:
        yield f"SQNR {point.sqnr_db:.1f} dB, expected at least {limit.min_sqnr_db:g} dB for {precision}"
    if limit.min_top1_agreement is not None:
        decided = _margins(expected) > limit.max_relative_error * _scale(expected)
        agree = (observed.argmax(axis=1) == expected.argmax(axis=1))[decided]
        if agree.size and not agree.mean() >= limit.min_top1_agreement:
            yield (
                f"{int((~agree).sum())} of {agree.size} clearly classified samples get another class, "
                f"expected top-1 agreement of at least {limit.min_top1_agreement:g} for {precision}"
            )


def _scale(expected: NDArray[np.float32]) -> float:
    largest = float(np.abs(centred(expected)).max())
    return max(largest, RELATIVE_FLOOR * float(np.abs(expected).max()), ABSOLUTE_FLOOR)


def _margins(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    if logits.shape[1] < 2:
        return np.zeros(len(logits))
    ordered = np.sort(logits.astype(np.float64), axis=1)
    margins: NDArray[np.float64] = ordered[:, -1] - ordered[:, -2]
    return margins


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms == 0:
        return float(np.array_equal(a, b))
    return float(np.clip(np.vdot(a, b) / norms, -1, 1))


def _sqnr_db(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> float | None:
    """Return 10 log10(signal / noise); ``None`` without noise or without a signal, where it is not a number."""
    noise = float(np.square(observed - expected).sum())
    signal = float(np.square(expected).sum())
    return float(10 * np.log10(signal / noise)) if noise > 0 and signal > 0 else None
