"""Name everything that is wrong with inputs and labels, so that all of it can be refused in one error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pt_core.data.rows import Rows, chunks
from pt_core.data.splits import MIN_SAMPLES_PER_CLASS

MAX_EXACT_INTEGER = 2**24
"""Integers beyond this lose digits in float32."""

MAX_LABEL = 2**31
"""No classifier has so many classes; a greater label is an id in the wrong array."""

_LEAST_SIDE = 8
_EXAMPLES = 5


def input_problems(x: Rows, input_range: tuple[float, float] | None) -> Iterator[str]:
    """Yield what is wrong with the inputs, reading them piece by piece."""
    if x.dtype.kind not in "fiub":
        yield f"x has dtype {x.dtype}, expected numbers"
        return
    if len(x.shape) not in (2, 4) or 0 in x.shape:
        yield f"x has shape {x.shape}, {_shape_advice(x.shape)}"
        return
    if _has_channels_last(x.shape):
        yield (
            f"x has shape {x.shape}, which is (N, H, W, C), expected (N, C, H, W); "
            "move the channels with x.transpose(0, 3, 1, 2)"
        )
        return
    if x.dtype.kind in "iu":
        least, greatest = _bounds(x)
        if max(-least, greatest) > MAX_EXACT_INTEGER:
            yield (
                f"x has integers up to {greatest} (least {least}), which float32 cannot hold exactly; scale them"
            )
    yield from _value_problems(x, input_range)


def _bounds(x: Rows) -> tuple[int, int]:
    found = [(int(piece.min()), int(piece.max())) for _, piece in chunks(x)]
    return min(least for least, _ in found), max(greatest for _, greatest in found)


def _value_problems(x: Rows, input_range: tuple[float, float] | None) -> Iterator[str]:
    not_finite, outside = _Tally(), _Tally()
    for start, piece in chunks(x):
        with np.errstate(over="ignore"):
            values = piece.astype(np.float32, copy=False)
        not_finite.add(start, values, ~np.isfinite(values))
        if input_range is not None:
            low, high = (np.float32(bound) for bound in input_range)
            outside.add(start, values, (values < low) | (values > high))
    if not_finite.num_values:
        yield f"x has {not_finite.num_values} NaN or infinite value(s) in {not_finite.where()}"
    if outside.num_values:
        yield (
            f"x has {outside.num_values} value(s) outside input_range {input_range} "
            f"(e.g. {outside.example:g}) in {outside.where()}; rescale x or correct data.input_range"
        )


class _Tally:
    """Counts bad values and remembers the first rows that hold one."""

    def __init__(self) -> None:
        self.num_values = 0
        self.num_rows = 0
        self.example: Any = None
        self._first: list[int] = []

    def add(self, start: int, values: NDArray[Any], bad: NDArray[np.bool_]) -> None:
        """Count the bad ones of a piece that begins at row ``start``."""
        if not bad.any():
            return
        if self.example is None:
            self.example = values[bad][0]
        rows = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1)) + start
        self.num_values += int(bad.sum())
        self.num_rows += len(rows)
        self._first = [*self._first, *rows[: _EXAMPLES + 1].tolist()][: _EXAMPLES + 1]

    def where(self) -> str:
        """Return how many rows, and the first of them."""
        return f"{self.num_rows} row(s): {join(self._first)}"


def _has_channels_last(shape: tuple[int, ...]) -> bool:
    # An image of at least 8 channels that is three or four pixels wide is no image that anybody has.
    return len(shape) == 4 and shape[3] in (3, 4) and min(shape[1], shape[2]) >= _LEAST_SIDE


def _shape_advice(shape: tuple[int, ...]) -> str:
    if len(shape) == 3:
        n, height, width = shape
        return f"expected (N, C, H, W) for images; add the channel axis: x.reshape({n}, 1, {height}, {width})"
    return "expected (N, F) for a table or (N, C, H, W) for images, with no empty axis"


def label_problems(y: NDArray[Any], labels: Sequence[str] | None, *, are_drawn: bool = True) -> Iterator[str]:
    """Yield what is wrong with the class numbers and their names.

    Args:
        y: (N,) class numbers, of any dtype.
        labels: name of each class, if they have any.
        are_drawn: whether the four splits are all drawn, so that each class needs a sample for each of them.
    """
    found = list(_number_problems(y))
    if not found:
        found = list(_class_problems(y, labels, are_drawn=are_drawn))
    yield from found
    if labels is None:
        return
    repeated = sorted({name for name in labels if list(labels).count(name) > 1})
    if repeated:
        yield f"labels has {join(repeated)} more than once; every class needs a name of its own"
    if not all(name.strip() for name in labels):
        yield "labels has an empty name"


def _number_problems(y: NDArray[Any]) -> Iterator[str]:
    if y.dtype.kind not in "fiub":
        yield f"y has dtype {y.dtype}, expected class numbers from 0; names belong into labels"
        return
    if y.ndim != 1 or not y.size:
        yield f"y has shape {y.shape}, expected (N,): one class number for each sample"
        return
    broken = ~np.isfinite(y) | (y != np.floor(y)) | (y > MAX_LABEL)
    if broken.any():
        yield f"y has {broken.sum()} label(s) that are no whole number below {MAX_LABEL:,} in {rows_of(broken)}"
        return
    negative = y < 0
    if negative.any():
        yield f"y has {negative.sum()} negative label(s) in {rows_of(negative)}; classes are numbered from 0"


def _class_problems(y: NDArray[Any], labels: Sequence[str] | None, *, are_drawn: bool) -> Iterator[str]:
    numbers = y.astype(np.int64)
    present, counts = np.unique(numbers, return_counts=True)
    if len(present) == 1:
        yield f"y has only class {name_of(present[0], labels)}, expected at least two classes"
    if labels is not None and present[-1] >= len(labels):
        beyond = numbers >= len(labels)
        yield (
            f"y has {beyond.sum()} label(s) up to {present[-1]} in {rows_of(beyond)}, out of the range of the "
            f"{len(labels)} name(s) in labels, 0 to {len(labels) - 1}; name each class once, in order"
        )
    num_classes = max(int(present[-1]) + 1, len(labels or ()))
    if len(present) != num_classes:
        # Only as many as are shown: one stray label of a billion must not fill the memory.
        absent = np.setdiff1d(np.arange(min(num_classes, len(present) + _EXAMPLES + 1)), present)
        names = join([name_of(label, labels) for label in absent.tolist()])
        has = f"labels up to {present[-1]}" if labels is None else f"labels has {len(labels)} name(s)"
        yield f"y has {len(present)} classes but {has}; none has class {names}; number classes from 0 without gaps"
    for label, count in zip(present, counts, strict=True):
        if are_drawn and count < MIN_SAMPLES_PER_CLASS:
            yield (
                f"y: class {name_of(label, labels)} has {count} sample(s), expected at least {MIN_SAMPLES_PER_CLASS} "
                "(one for each of train, validation, calibration and test)"
            )


def name_of(label: int, labels: Sequence[str] | None) -> str:
    """Return a class as people read it."""
    return repr(labels[label]) if labels is not None and label < len(labels) else str(label)


def rows_of(bad: NDArray[np.bool_]) -> str:
    """Return how many rows are bad, and the first of them."""
    rows = np.flatnonzero(bad).tolist()
    return f"{len(rows)} row(s): {join(rows)}"


def join(values: Sequence[object]) -> str:
    """Return the first values as a list for a sentence."""
    more = ", ..." if len(values) > _EXAMPLES else ""
    return ", ".join(str(value) for value in values[:_EXAMPLES]) + more
