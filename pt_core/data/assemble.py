"""From what a source read to samples that are checked, ordered, split and numeric, or everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.data.checks import input_problems, label_problems
from pt_core.data.config import DataConfig, SplitName
from pt_core.data.encoding import TableEncoding
from pt_core.data.rows import Picked, Rows
from pt_core.data.source import RawData
from pt_core.data.split_checks import class_problems, group_problems, leak_problems, named, split_problems
from pt_core.data.splits import split_rows
from pt_core.errors import DataError


class Assembled(NamedTuple):
    """Samples that passed every check, in the order of their ids."""

    x: Rows
    """(N, F) or (N, C, H, W) numbers, all finite and inside the range."""
    y: NDArray[np.int64]
    """(N,) class numbers 0 to K - 1, each present."""
    labels: tuple[str, ...]
    """K names."""
    order: NDArray[np.int64]
    """(N,) row in the source of each sample: by id where there are ids, as they came where not."""
    splits: dict[SplitName, NDArray[np.int64]]
    """Samples of each split."""
    encoding: TableEncoding | None
    """How table rows became numbers."""


class _Grouped(NamedTuple):
    """Rows in the order of their ids."""

    order: NDArray[np.int64]
    """(N,) rows, by id."""
    groups: NDArray[np.int64] | None
    """(N,) number of the id of each sample in that order; ``None`` where each row has its own."""


def assemble(raw: RawData, *, config: DataConfig, seed: int) -> Assembled:
    """Return the samples in order, split and numeric.

    Raises:
        DataError: one detail for each problem, all of them together.
    """
    labels = config.labels or raw.labels
    problems = list(raw.problems)
    given = None if raw.split is None else named(raw.split)
    leaks = list(_leaks(raw, given))
    blocking = [*_label_problems(raw, labels), *(split_problems(given) if given is not None else ())]
    if raw.fit is None and raw.decoding is None:
        problems += input_problems(raw.x, raw.input_range)
    if blocking:
        raise refusal([*problems, *blocking, *leaks])
    y = raw.y.astype(np.int64)
    labels = labels or tuple(str(number) for number in range(int(y.max()) + 1))
    grouped = _group(raw)
    blocking = [*_split_problems(y, labels, given, grouped), *leaks]
    if blocking:
        raise refusal([*problems, *blocking])
    order = grouped.order
    splits = split_rows(
        y[order],
        groups=grouped.groups,
        given=None if given is None else given[order],
        config=config,
        seed=seed,
    )
    # Whatever was checked above: a split without samples would be found out in the middle of a run.
    problems += [f"the {name} split is empty" for name, rows in splits.items() if not len(rows)]
    x, encoding = raw.x, None
    if raw.fit is not None:
        x, encoding, found = raw.fit(order[splits["train"]])
        problems += found
    if problems:
        raise refusal(problems)
    return Assembled(Picked(x, order), y[order], labels, order, splits, encoding)


def refusal(problems: list[str]) -> DataError:
    """Return the error that lists every problem."""
    return DataError(f"data: {len(problems)} problem(s) to repair before training", details=problems)


def _label_problems(raw: RawData, labels: tuple[str, ...] | None) -> Iterator[str]:
    yield from label_problems(raw.y, labels, are_drawn=raw.split is None)
    num_x, num_y = (raw.x.shape or (0,))[0], raw.y.size
    if len(raw.x.shape) and raw.y.ndim and num_x != num_y:
        yield f"x has {num_x} rows and y has {num_y}; they must be the same samples"


def _leaks(raw: RawData, given: NDArray[np.str_] | None) -> Iterator[str]:
    """Yield the ids in more than one split of a user, whatever the labels are."""
    if given is None or raw.ids is None or len(raw.ids) != len(given):
        return
    ids, groups = np.unique(raw.ids, return_inverse=True)
    yield from leak_problems(given, groups.astype(np.int64), ids.astype(np.str_), files=raw.names)


def _group(raw: RawData) -> _Grouped:
    num_rows = len(raw.y)
    if raw.ids is None:
        return _Grouped(np.arange(num_rows), None)
    ids, numbers = np.unique(raw.ids, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    groups = None if len(ids) == num_rows else numbers[order].astype(np.int64)
    return _Grouped(order, groups)


def _split_problems(
    y: NDArray[np.int64], labels: tuple[str, ...], given: NDArray[np.str_] | None, grouped: _Grouped
) -> Iterator[str]:
    groups = grouped.groups
    if given is not None:
        yield from class_problems(
            given, y, labels, groups=None if groups is None else groups[_inverse(grouped.order)]
        )
    elif groups is not None:
        yield from group_problems(y[grouped.order], groups, labels)


def _inverse(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each row of the source in an order."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places
