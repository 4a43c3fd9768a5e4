"""Refuse samples that cannot be trained or evaluated on, all problems in one error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.data.source import RawData
from pt_core.data.splits import MIN_SAMPLES_PER_CLASS
from pt_core.errors import DataError

MAX_EXACT_INTEGER = 2**24
"""Integers beyond this lose digits in float32."""

MAX_LABEL = 2**31
"""No classifier has so many classes; a greater label is an id in the wrong array."""

_EXAMPLES = 5


class CheckedData(NamedTuple):
    """Samples that passed every check."""

    x: NDArray[np.float32]
    """(N, F) or (N, C, H, W), all finite and inside the range."""
    y: NDArray[np.int64]
    """(N,) class numbers 0 to K - 1, each present."""
    labels: tuple[str, ...]
    """K names."""
    input_range: tuple[float, float] | None
    """Least and greatest legal input value."""


def check(raw: RawData) -> CheckedData:
    """Return the samples as float32 and int64, or say everything that is wrong with them.

    Raises:
        DataError: one detail for each problem.
    """
    problems = [*_check_x(raw.x, raw.input_range), *_check_y(raw.y)]
    if raw.x.ndim and raw.y.ndim and len(raw.x) != len(raw.y):
        problems.append(f"x has {len(raw.x)} rows and y has {len(raw.y)}; they must be the same samples")
    if raw.labels is not None and not any(problem.startswith("y") for problem in problems):
        problems += _check_labels(raw.labels, num_classes=int(raw.y.max()) + 1)
    if problems:
        raise DataError(f"data: {len(problems)} problem(s) to repair before training", details=problems)
    y = raw.y.astype(np.int64)
    labels = raw.labels or tuple(str(number) for number in range(int(y.max()) + 1))
    return CheckedData(raw.x.astype(np.float32), y, labels, raw.input_range)


def _check_x(x: NDArray[Any], input_range: tuple[float, float] | None) -> Iterator[str]:
    if x.dtype.kind not in "fiub":
        yield f"x has dtype {x.dtype}, expected numbers"
        return
    if x.ndim not in (2, 4) or 0 in x.shape:
        yield f"x has shape {x.shape}, {_shape_advice(x)}"
        return
    if x.dtype.kind in "iu" and x.size and max(abs(int(x.min())), abs(int(x.max()))) > MAX_EXACT_INTEGER:
        yield f"x has integers up to {x.max()} (least {x.min()}), which float32 cannot hold exactly; scale them"
    with np.errstate(over="ignore"):
        values = x.astype(np.float32, copy=False)
    bad = ~np.isfinite(values)
    if bad.any():
        yield f"x has {bad.sum()} NaN or infinite value(s) in {_rows(bad)}"
    if input_range is not None:
        outside = (values < np.float32(input_range[0])) | (values > np.float32(input_range[1]))
        if outside.any():
            yield (
                f"x has {outside.sum()} value(s) outside input_range {input_range} "
                f"(e.g. {values[outside][0]:g}) in {_rows(outside)}; rescale x or correct data.input_range"
            )


def _shape_advice(x: NDArray[Any]) -> str:
    if x.ndim == 3:
        n, height, width = x.shape
        return f"expected (N, C, H, W) for images; add the channel axis: x.reshape({n}, 1, {height}, {width})"
    return "expected (N, F) for a table or (N, C, H, W) for images, with no empty axis"


def _check_y(y: NDArray[Any]) -> Iterator[str]:
    if y.dtype.kind not in "fiub":
        yield f"y has dtype {y.dtype}, expected class numbers from 0; names belong into labels"
        return
    if y.ndim != 1 or not y.size:
        yield f"y has shape {y.shape}, expected (N,): one class number for each sample"
        return
    broken = ~np.isfinite(y) | (y != np.floor(y)) | (y > MAX_LABEL)
    if broken.any():
        yield f"y has {broken.sum()} label(s) that are no whole number below {MAX_LABEL:,} in {_rows(broken)}"
        return
    negative = y < 0
    if negative.any():
        yield f"y has {negative.sum()} negative label(s) in {_rows(negative)}; classes are numbered from 0"
        return
    yield from _check_classes(y)


def _check_classes(y: NDArray[Any]) -> Iterator[str]:
    present, counts = np.unique(y.astype(np.int64), return_counts=True)
    if len(present) == 1:
        yield f"y has only class {present[0]}, expected at least two classes"
    if len(present) != present[-1] + 1:
        # Only as many as are shown: one stray label of a billion must not fill the memory.
        absent = np.setdiff1d(np.arange(min(int(present[-1]), len(present) + _EXAMPLES)), present)
        yield (
            f"y has {len(present)} classes but labels up to {present[-1]}; "
            f"none has class {_join(absent.tolist())}; number classes from 0 without gaps"
        )
    for label, count in zip(present, counts, strict=True):
        if count < MIN_SAMPLES_PER_CLASS:
            yield (
                f"y: class {label} has {count} sample(s), expected at least {MIN_SAMPLES_PER_CLASS} "
                "(one for each of train, validation, calibration and test)"
            )


def _check_labels(labels: tuple[str, ...], *, num_classes: int) -> Iterator[str]:
    if len(labels) != num_classes:
        yield f"labels has {len(labels)} name(s) and y has {num_classes} classes; name each class once, in order"
    repeated = sorted({name for name in labels if labels.count(name) > 1})
    if repeated:
        yield f"labels has {_join(repeated)} more than once; every class needs a name of its own"
    if not all(name.strip() for name in labels):
        yield "labels has an empty name"


def _rows(bad: NDArray[np.bool_]) -> str:
    rows = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1)).tolist()
    return f"{len(rows)} row(s): {_join(rows)}"


def _join(values: Sequence[object]) -> str:
    more = ", ..." if len(values) > _EXAMPLES else ""
    return ", ".join(str(value) for value in values[:_EXAMPLES]) + more
