"""Source: the rows of a CSV file, read in one pass and never held whole."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pt_core.data.cells import to_number
from pt_core.data.encode import encode_cells
from pt_core.errors import DataError
from pt_core.inference.preprocess import is_numeric
from pt_core.modeling.spec import ModelSpec
from pt_core.scoring.columns import Columns, choose_columns
from pt_core.scoring.source import Block, digest_and_lines, file_stamp
from pt_core.scoring.values import make_block, problems_of

Row = list[str]

_NO_TEXT = "\ufffd"
"""What stands for bytes that are not UTF-8."""


class CsvSource:
    """The rows of a CSV file, blank lines left out; its first row is a header if it is not all numbers."""

    def __init__(self, path: Path, spec: ModelSpec, id_column: str | None) -> None:
        """Read the first row.

        Raises:
            DataError: the file is empty, or does not have the columns that the network takes.
        """
        self._path = path
        self._spec = spec
        with self._open() as stream:
            first = next(self._rows(stream), None)
        if first is None:
            raise DataError(f"{path}: holds no rows")
        self._has_header = spec.table is not None or _is_header(first, path, id_column)
        self._width = len(first)
        self._columns = self._choose(first, id_column)
        self._digest, lines = digest_and_lines(path)
        self._about_num_rows = max(lines - self._has_header, 1)

    def _choose(self, first: Row, id_column: str | None) -> Columns:
        names = first if self._has_header else [f"column {number}" for number in range(1, len(first) + 1)]
        return choose_columns(
            names, self._spec, id_column=id_column, where=self._path, is_named=self._has_header
        )

    @property
    def about_num_rows(self) -> int:
        """How many lines it has below its header."""
        return self._about_num_rows

    def fingerprint(self) -> str:
        """Return the file's SHA-256."""
        return self._digest

    def stamp(self) -> str:
        """Return the file's size and time."""
        return file_stamp(self._path)

    def blocks(self, *, start: int, size: int) -> Iterator[Block]:
        """Yield the rows; those before ``start`` are read as text only."""
        with self._open() as stream:
            rows = itertools.islice(self._rows(stream), start + self._has_header, None)
            first = start
            while block := list(itertools.islice(rows, size)):
                yield self._block(block, first)
                first += len(block)

    def _open(self) -> TextIO:
        # What is not UTF-8 becomes a character that no number has: one bad row, and not the end of a long run.
        return self._path.open(newline="", encoding="utf-8-sig", errors="replace")

    def _rows(self, stream: TextIO) -> Iterator[Row]:
        reader = csv.reader(stream)
        try:
            yield from (row for row in reader if row)
        except csv.Error as error:
            raise DataError(
                f"{self._path}: line {reader.line_num} is not comma-separated text: {error}"
            ) from error

    def _block(self, rows: list[Row], first: int) -> Block:
        problems: dict[int, str] = {}
        for at, row in enumerate(rows):
            if len(row) != self._width:
                problems[at] = f"{len(row)} columns, expected {self._width}"
                rows[at] = ["nan"] * self._width
        samples, found = self._numbers(rows) if self._spec.table is None else self._encode(rows)
        ids = None
        if self._columns.id is not None:
            ids = pa.array([row[self._columns.id] for row in rows], pa.string())
        return make_block(
            samples.reshape(-1, *self._spec.input_shape),
            found | problems,
            inputs=[self._path.name] * len(rows),
            rows=range(first, first + len(rows)),
            ids=ids,
        )

    def _encode(self, rows: list[Row]) -> tuple[NDArray[np.float32], dict[int, str]]:
        """Return raw rows as they were encoded for the training, and what is wrong with them."""
        encoding = self._spec.table
        problems: dict[int, str] = {}
        assert encoding is not None
        cells = {}
        for column, at in zip(encoding.columns, self._columns.features, strict=True):
            cells[column.name] = [row[at] for row in rows]
            # As a category it would be taken for one that the training data lack.
            broken = [place for place, cell in enumerate(cells[column.name]) if _NO_TEXT in cell]
            problems |= {place: f"{column.name}: {rows[place][at][:40]!r} is not UTF-8" for place in broken}
        found = encode_cells(cells, encoding, where=str(self._path))
        return found.samples, found.problems | problems

    def _numbers(self, rows: list[Row]) -> tuple[NDArray[np.float32], dict[int, str]]:
        """Return rows of numbers, and what is wrong with them."""
        problems: dict[int, str] = {}
        cells = rows if self._columns.id is None else [self._features(row) for row in rows]
        values = self._floats(cells, problems)
        with np.errstate(over="ignore"):
            samples = values.astype(np.float32)
        return samples, problems_of(samples, self._spec, self._columns.names) | problems

    def _features(self, row: Row) -> Row:
        return [row[at] for at in self._columns.features]

    def _floats(self, rows: Sequence[Row], problems: dict[int, str]) -> NDArray[np.float64]:
        """Return the cells as numbers, NaN where one is none, which is said in ``problems``."""
        num_cells = len(rows) * len(self._columns.features)
        try:
            cells = map(float, _plain_cells(rows))
            values = np.fromiter(cells, dtype=np.float64, count=num_cells)
        except ValueError:
            values = np.full(num_cells, np.nan)
            for at, row in enumerate(rows):
                self._read_row(at, row, values, problems)
        return values.reshape(len(rows), -1)

    def _read_row(self, at: int, row: Row, values: NDArray[np.float64], problems: dict[int, str]) -> None:
        for column, cell in enumerate(row):
            try:
                values[at * len(row) + column] = to_number(cell)
            except ValueError:
                found = f"{cell[:40]!r}" if cell else "empty"
                problems.setdefault(at, f"{self._columns.names[column]}: {found}, expected a number")


def _plain_cells(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the cells, as long as none holds an underscore, which ``float`` passes over.

    Raises:
        ValueError: one does.
    """
    for row in rows:
        if "_" in "".join(row):
            raise ValueError("an underscore")
        yield from row


def _is_header(first: Row, path: Path, id_column: str | None) -> bool:
    """Return whether a file's first row names its columns.

    Raises:
        DataError: it has names and numbers, so that to take it for a header may lose a row.
    """
    if is_numeric(first):
        return False
    numbers = [cell for cell in first if is_numeric([cell])]
    if numbers and id_column not in first:
        raise DataError(
            f"{path}: the first row is {','.join(first)[:60]!r}, names and numbers; expected a header of names only, "
            "or a row of numbers"
        )
    return True
