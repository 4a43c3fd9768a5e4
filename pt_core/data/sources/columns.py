"""The columns of a table on disk: what is wrong with them, the encoding learnt on training rows, and their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.data.checks import join, rows_of
from pt_core.data.config import TableConfig
from pt_core.data.encode import encode_categories, encode_numbers, name_cell
from pt_core.data.encoding import MISSING, ColumnEncoding, TableEncoding
from pt_core.data.rows import chunks
from pt_core.data.source import Fitted

_REPAIR = "repair them, or list the column in data.table.categorical"
_FILL = "fill them, or set data.table.missing"


class Columns(NamedTuple):
    """A table whose cells are numbers and places in vocabularies."""

    numeric: tuple[str, ...]
    """Names of the columns of numbers."""
    categorical: tuple[str, ...]
    """Names of the columns of categories."""
    values: NDArray[np.float64]
    """(N, len(numeric)) NaN where missing."""
    codes: NDArray[np.int32]
    """(N, len(categorical)) place of each category in its vocabulary."""
    vocabularies: tuple[tuple[str, ...], ...]
    """The categories of each column, in the order they were met."""
    table: TableConfig
    """What is to be done with them."""

    def problems(self, marks: NDArray[np.uint8]) -> list[str]:
        """Return what is wrong with the cells; ``marks`` has bit 0 for text and bit 1 for infinity, as ``values``."""
        found: list[str] = []
        refuses = self.table.missing == "refuse"
        for place, name in enumerate(self.numeric):
            is_text, is_infinite = marks[:, place] & 1 > 0, marks[:, place] & 2 > 0
            missing = np.isnan(self.values[:, place]) & ~is_text & refuses
            found += _cell_problems(name, is_text, "cell(s) that are no number", _REPAIR)
            found += _cell_problems(name, is_infinite, "infinite value(s)", "repair them")
            found += _cell_problems(name, missing, "missing value(s)", _FILL)
        for place, name in enumerate(self.categorical):
            words = self.vocabularies[place]
            if refuses and MISSING in words:
                missing = self.codes[:, place] == words.index(MISSING)
                found += _cell_problems(name, missing, "missing value(s)", _FILL)
            if len(words) > self.table.max_categories:
                found.append(
                    f"column {name} has {len(words)} categories, expected at most {self.table.max_categories}; list it in "
                    "data.table.ignore or numeric, or raise max_categories"
                )
        return found

    def fit(self, rows: NDArray[np.int64]) -> Fitted:
        """Learn the encoding from training rows."""
        problems: list[str] = []
        columns = [self._fit_numbers(place, rows, problems) for place in range(len(self.numeric))]
        for place, name in enumerate(self.categorical):
            words = self.vocabularies[place]
            present = np.unique(self.codes[rows, place])
            column = ColumnEncoding(
                name=name,
                kind="categorical",
                categories=tuple(sorted(words[code] for code in present)),
                encoder=self.table.encoder,
            )
            columns.append(column)
            if self.table.unseen == "refuse":
                problems += self._unseen(place, ~np.isin(self.codes[:, place], present))
        encoding = TableEncoding(columns=tuple(columns), unseen=self.table.unseen)
        return Fitted(_Encoded(self, encoding), encoding, problems)

    def content(self, order: NDArray[np.int64]) -> Iterator[bytes]:
        """Yield a digest of each column in an order of rows, by name: the order of the columns changes nothing."""
        digests = {name: hashlib.sha256(name.encode()) for name in (*self.numeric, *self.categorical)}
        for _, piece in chunks(self.values, order):
            for place, name in enumerate(self.numeric):
                digests[name].update(np.ascontiguousarray(piece[:, place]).data)
        for place, name in enumerate(self.categorical):
            words = self.vocabularies[place]
            digests[name].update("\0".join(sorted(words)).encode())
            ranks = np.argsort(np.argsort(np.array(words, dtype=np.str_)))
            digests[name].update(ranks[self.codes[order, place]].astype("<i8").data)
        for name in sorted(digests):
            yield digests[name].digest()

    def _unseen(self, place: int, unseen: NDArray[np.bool_]) -> list[str]:
        if not unseen.any():
            return []
        words = self.vocabularies[place]
        found = [name_cell(words[code]) for code in np.unique(self.codes[unseen, place])]
        return [
            f"column {self.categorical[place]} has {join(found)} in {rows_of(unseen)}, which the training split lacks; "
            "correct them, or set data.table.unseen: ignore"
        ]

    def _fit_numbers(self, place: int, rows: NDArray[np.int64], problems: list[str]) -> ColumnEncoding:
        name, missing = self.numeric[place], self.table.missing
        fill = self.table.missing_value if missing == "constant" else None
        if missing in ("mean", "median"):
            cells = self.values[rows, place]
            cells = cells[np.isfinite(cells)]
            fill = float(np.mean(cells) if missing == "mean" else np.median(cells)) if len(cells) else 0.0
            if not len(cells):
                problems.append(
                    f"column {name} has no number in the training split, so no {missing}; list it in data.table.ignore"
                )
        return ColumnEncoding(name=name, kind="numeric", fill=fill, indicator=self.table.missing_indicator)


class _Encoded:
    """The columns as numbers, encoded as they are read."""

    def __init__(self, columns: Columns, encoding: TableEncoding) -> None:
        self._columns = columns
        self._encoding = encoding
        self.shape = (len(columns.values), len(encoding.outputs))
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> NDArray[np.float32]:
        columns = self._columns
        values, codes = columns.values[rows], columns.codes[rows]
        out = np.empty((len(values), self.shape[1]), dtype=np.float32)
        start = 0
        for number, column in enumerate(self._encoding.columns):
            end = start + len(column.outputs)
            place = number - len(columns.numeric)
            if place < 0:
                encode_numbers(column, values[:, number], out[:, start:end])
            else:
                encode_categories(column, codes[:, place], columns.vocabularies[place], out[:, start:end])
            start = end
        return out


def _cell_problems(name: str, bad: NDArray[np.bool_], what: str, advice: str) -> list[str]:
    return [f"column {name} has {bad.sum()} {what} in {rows_of(bad)}; {advice}"] if bad.any() else []
