"""Encode the cells of a table as numbers, by what was learnt on the training split: the one place that does it.

It needs NumPy alone, so that an artifact can be served without the libraries that training reads tables with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.data.cells import parse_categories, parse_numbers
from pt_core.data.encoding import MISSING, ColumnEncoding, TableEncoding
from pt_core.errors import DataError


class Encoded(NamedTuple):
    """Rows of a table as numbers."""

    samples: NDArray[np.float32]
    """(N, outputs) the numbers; a row with a problem holds no meaning."""
    problems: dict[int, str]
    """What is wrong with a row, by its position; the first of its problems."""


def encode_cells(cells: Mapping[str, Sequence[Any]], encoding: TableEncoding, *, where: str) -> Encoded:
    """Return raw rows as the training rows were encoded.

    Args:
        cells: the cells of each column, as text or as numbers; ``None``, NaN or a mark such as "NA" is missing.
            Columns may stand in any order; those that the encoding does not have are not read.
        encoding: what was learnt on the training split.
        where: the file, for a message.

    Raises:
        DataError: a column is not there.
    """
    absent = [column.name for column in encoding.columns if column.name not in cells]
    if absent:
        names = ", ".join(column.name for column in encoding.columns[:20])
        raise DataError(f"{where}: has no column {', '.join(absent[:5])}, expected a header with {names}")
    length = len(cells[encoding.columns[0].name])
    samples = np.zeros((length, len(encoding.outputs)), dtype=np.float32)
    problems: dict[int, str] = {}
    start = 0
    for column in encoding.columns:
        end = start + len(column.outputs)
        found = _encode(cells[column.name], column, encoding, samples[:, start:end])
        problems = found | problems
        start = end
    return Encoded(samples, problems)


def encode_numbers(column: ColumnEncoding, values: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """Write (N,) numbers, NaN where missing, into the (N, 1 or 2) outputs of a column."""
    is_missing = np.isnan(values)
    with np.errstate(over="ignore"):
        out[:, 0] = np.where(is_missing, 0.0 if column.fill is None else column.fill, values)
    if column.indicator:
        out[:, 1] = is_missing


def encode_categories(
    column: ColumnEncoding, codes: NDArray[Any], vocabulary: Sequence[str], out: NDArray[np.float32]
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


def decode_categories(column: ColumnEncoding, outputs: NDArray[np.float32]) -> NDArray[np.str_]:
    """Return the (N,) categories that (N, outputs) of a column were encoded from; one unseen in training is "unseen"."""
    names = np.array([*(category or "missing" for category in column.categories), "unseen"], dtype=np.str_)
    if column.encoder == "ordinal":
        places = outputs[:, 0].astype(np.int64)
    else:
        places = np.where(outputs.any(axis=1), outputs.argmax(axis=1), -1)
    return names[places]


def name_cell(category: str) -> str:
    """Return a category as people read it."""
    return "a missing cell" if category == MISSING else repr(category)


def _encode(
    cells: Sequence[Any], column: ColumnEncoding, encoding: TableEncoding, out: NDArray[np.float32]
) -> dict[int, str]:
    if column.kind == "numeric":
        found = parse_numbers(cells)
        encode_numbers(column, found.values, out)
        bad = found.is_text | found.is_infinite | (found.is_missing & (column.fill is None))
        return {
            row: f"{column.name}: {str(cells[row])[:40]!r}, expected a finite number" for row in _rows(bad)
        }
    texts = parse_categories(cells)
    vocabulary = sorted(set(texts))
    places = {word: place for place, word in enumerate(vocabulary)}
    encode_categories(column, np.array([places[text] for text in texts], dtype=np.int64), vocabulary, out)
    if encoding.unseen == "ignore":
        return {}
    known = set(column.categories)
    return {
        row: f"{column.name}: {name_cell(text)[:40]}, which the training data lacks"
        for row, text in enumerate(texts)
        if text not in known
    }


def _rows(bad: NDArray[np.bool_]) -> list[int]:
    rows: list[int] = np.flatnonzero(bad).tolist()
    return rows
