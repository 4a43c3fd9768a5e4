"""Encode the cells of a table as numbers, by what was learnt on the training split: the one place that does it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pt_core.data.checks import join, rows_of
from pt_core.data.encoding import MISSING, ColumnEncoding, TableEncoding
from pt_core.data.tables import categories, numbers
from pt_core.errors import DataError


def encode_numbers(column: ColumnEncoding, values: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """Write (N,) numbers, NaN where missing, into the (N, 1 or 2) outputs of a column."""
    is_missing = np.isnan(values)
    out[:, 0] = np.where(is_missing, 0.0 if column.fill is None else column.fill, values)
    if column.indicator:
        out[:, 1] = is_missing


def encode_categories(
    column: ColumnEncoding, codes: NDArray[np.integer], vocabulary: Sequence[str], out: NDArray[np.float32]
) -> None:
    """Write (N,) categories, given by their place in a vocabulary, into the outputs of a column."""
    places = {category: place for place, category in enumerate(column.categories)}
    found = np.array([places.get(word, -1) for word in vocabulary], dtype=np.int64)[codes]
    if column.encoder == "ordinal":
        out[:, 0] = found
        return
    out[:] = 0
    seen = np.flatnonzero(found >= 0)
    out[seen, found[seen]] = 1


def encode_frame(frame: pd.DataFrame, encoding: TableEncoding, *, where: str) -> NDArray[np.float32]:
    """Return raw rows as (N, outputs) float32, as the training rows were.

    Args:
        frame: rows with the columns of the encoding, in any order; other columns are not read.
        encoding: what was learnt on the training split.
        where: the file, for messages.

    Raises:
        DataError: a column is not there, or cells are no numbers, infinite, missing or unseen where that is refused;
            the details list every problem.
    """
    absent = [column.name for column in encoding.columns if column.name not in frame.columns]
    if absent:
        raise DataError(
            f"{where}: has no column {join(absent)}, expected {join([c.name for c in encoding.columns])} in its header"
        )
    out = np.empty((len(frame), len(encoding.outputs)), dtype=np.float32)
    problems: list[str] = []
    start = 0
    for column in encoding.columns:
        width = len(column.outputs)
        problems += _encode(frame[column.name], column, encoding, out[:, start : start + width])
        start += width
    if problems:
        raise DataError(f"{where}: {len(problems)} problem(s) with its cells", details=problems)
    return out


def _encode(
    cells: pd.Series, column: ColumnEncoding, encoding: TableEncoding, out: NDArray[np.float32]
) -> list[str]:
    if column.kind == "numeric":
        found = numbers(cells)
        encode_numbers(column, found.values, out)
        missing = np.isnan(found.values) & ~found.is_text & (column.fill is None)
        return number_problems(column.name, found.is_text, found.is_infinite, missing)
    codes, vocabulary = pd.factorize(categories(cells))
    encode_categories(column, codes, [str(word) for word in vocabulary], out)
    if encoding.unseen == "ignore":
        return []
    unseen = ~np.isin(categories(cells).astype(np.str_), column.categories)
    return unseen_problems(column, categories(cells)[unseen].tolist(), unseen)


def number_problems(
    name: str, is_text: NDArray[np.bool_], is_infinite: NDArray[np.bool_], is_missing: NDArray[np.bool_]
) -> list[str]:
    """Return what is wrong with the cells of a column of numbers."""
    problems = []
    if is_text.any():
        problems.append(f"column {name} has {is_text.sum()} cell(s) that are no number in {rows_of(is_text)}")
    if is_infinite.any():
        problems.append(f"column {name} has {is_infinite.sum()} infinite value(s) in {rows_of(is_infinite)}")
    if is_missing.any():
        problems.append(f"column {name} has {is_missing.sum()} missing value(s) in {rows_of(is_missing)}")
    return problems


def unseen_problems(column: ColumnEncoding, found: Sequence[str], unseen: NDArray[np.bool_]) -> list[str]:
    """Return the sentence for categories that the training split lacks, where they are refused."""
    if not unseen.any():
        return []
    names = join([repr(name) if name != MISSING else "a missing cell" for name in sorted(set(found))])
    return [
        f"column {column.name} has {names} in {rows_of(unseen)}, which the training split lacks; "
        "correct them, or train with data.table.unseen: ignore"
    ]
