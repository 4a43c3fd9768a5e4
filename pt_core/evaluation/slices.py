"""Part the test samples by a column or a function, and score each part on its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.data.dataset import Samples
from pt_core.data.encode import decode_categories
from pt_core.data.encoding import TableEncoding
from pt_core.errors import ConfigError, StepFailed
from pt_core.evaluation.config import SliceConfig
from pt_core.evaluation.report import Undefined
from pt_core.evaluation.scores import SliceScores
from pt_core.modeling.target import import_function

Rows = NDArray[np.int64]
"""(K,) numbers of samples in the split, rising."""

MAX_VALUES = 100
"""More parts than this are no slices but identities."""

MAX_NAME = 100
"""Characters of a part's name: tracking servers and files take no endless ones."""

_NOT_IN_NAMES = re.compile(r"[^\w.\- ]")


class Slice(NamedTuple):
    """One part of the samples."""

    config: SliceConfig
    """What parts them."""
    value: str
    """Which part."""
    rows: Rows
    """Its samples."""


def part(
    configs: Sequence[SliceConfig], samples: Samples, *, table: TableEncoding | None = None
) -> tuple[Slice, ...]:
    """Return every part of every slice, in the order of its values.

    Args:
        configs: what parts the samples.
        samples: the samples.
        table: how raw rows became them, where columns have names.

    Raises:
        ConfigError: there are too many parts, two of them cannot be told apart by name, or a name is too long.
        StepFailed: the user's function raised, or returned no label for each sample.
    """
    return tuple(found for config in configs for found in _part(config, samples, table))


def score_slices(
    slices: Sequence[Slice], predicted: NDArray[np.int64], targets: NDArray[np.int64]
) -> tuple[tuple[SliceScores, ...], tuple[Undefined, ...]]:
    """Return the scores of each part, and what is undefined because a part is too small.

    Args:
        slices: the parts.
        predicted: (N,) class numbers.
        targets: (N,) the true ones.
    """
    scores, undefined = [], []
    for one in slices:
        right = predicted[one.rows] == targets[one.rows]
        is_enough = len(one.rows) >= one.config.min_samples
        found = SliceScores(
            slice=one.config.name,
            value=one.value,
            num_samples=len(one.rows),
            accuracy=float(right.mean()) if is_enough else None,
            recall_macro=_recall(right, targets[one.rows]) if is_enough else None,
        )
        scores.append(found)
        if not is_enough:
            reason = f"{len(one.rows)} samples, expected at least {one.config.min_samples}"
            undefined += [
                Undefined(metric=f"{found.metric}/{n}", reason=reason) for n in ("accuracy", "recall_macro")
            ]
    return tuple(scores), tuple(undefined)


def _recall(right: NDArray[np.bool_], targets: NDArray[np.int64]) -> float:
    return float(np.mean([right[targets == label].mean() for label in np.unique(targets)]))


def _part(config: SliceConfig, samples: Samples, table: TableEncoding | None) -> Iterator[Slice]:
    if config.function is not None:
        labels: NDArray[Any] = _labels(config.function, samples, config.name)
    else:
        labels = _column(config, samples, table)
    if config.edges:
        yield from _ranges(config, labels)
        return
    values = np.unique(labels)
    if len(values) > MAX_VALUES:
        remedy = "return fewer labels" if config.function else "give edges to make ranges of them"
        raise ConfigError(
            f"evaluation.slices: {config.name} has {len(values)} values, expected at most {MAX_VALUES}; {remedy}"
        )
    names = [_name(value) for value in values.tolist()]
    _check_names(names, config)
    for name, value in zip(names, values, strict=True):
        yield Slice(config, name, np.flatnonzero(labels == value))


def _column(config: SliceConfig, samples: Samples, table: TableEncoding | None) -> NDArray[Any]:
    """Return the (N,) values of a column: numbers, or the categories that a named one was encoded from."""
    if not isinstance(config.column, str):
        return np.asarray(samples.x[:, config.column])
    place = table.place(config.column) if table is not None else None
    if place is None:
        raise ConfigError(f"evaluation.slices: {config.name}: the samples have no column {config.column!r}")
    start, column = place
    if column.kind == "numeric":
        return np.asarray(samples.x[:, start])
    if config.edges:
        raise ConfigError(
            f"evaluation.slices: {config.name} has edges, and column {column.name} holds categories; leave edges out"
        )
    return decode_categories(column, np.asarray(samples.x[:, start : start + len(column.outputs)]))


def _ranges(config: SliceConfig, column: NDArray[np.float32]) -> Iterator[Slice]:
    # In full: two edges that differ must not be called the same, nor hold a sign that names may not have.
    edges = [np.format_float_positional(edge, trim="-") for edge in config.edges]
    names = [f"below_{edges[0]}", *(f"{a}_to_{b}" for a, b in pairwise(edges))]
    names.append(f"from_{edges[-1]}")
    _check_names(names, config)
    # As float32, so that a sample of 0.7 is not below an edge of 0.7.
    which = np.searchsorted(np.array(config.edges, dtype=np.float32), column, side="right")
    for place, name in enumerate(names):
        if (which == place).any():
            yield Slice(config, name, np.flatnonzero(which == place))


def _check_names(names: Sequence[str], config: SliceConfig) -> None:
    """Refuse names that are the same or too long."""
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ConfigError(
            f"evaluation.slices: two values of {config.name} are called {repeated!r} in metrics; rename one"
        )
    longest = max(names, key=len)
    if len(longest) > MAX_NAME:
        raise ConfigError(
            f"evaluation.slices: a value of {config.name} has a name of {len(longest)} characters, expected at most "
            f"{MAX_NAME}: {longest[:40]!r}...; give shorter labels or edges"
        )


def _labels(function: str, samples: Samples, name: str) -> NDArray[np.str_]:
    """Return the (N,) labels of the user's function as text."""
    called = import_function(function, where="evaluation.slices")
    try:
        # Copies: what the user's code does to them must not reach the samples.
        labels = list(called(np.array(samples.x), np.array(samples.y)))
    except Exception as error:
        raise StepFailed(
            f"evaluation.slices: {function}, which makes {name}, raised {type(error).__name__}: {error}"
        ) from error
    if len(labels) != len(samples.y):
        raise StepFailed(
            f"evaluation.slices: {function} returned {len(labels)} labels for {len(samples.y)} samples; "
            "expected one for each"
        )
    return np.array([str(label) for label in labels], dtype=np.str_)


def _name(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return _NOT_IN_NAMES.sub("_", text).strip() or "empty"
