"""Source "table": CSV or Parquet files, read once into columns on disk, encoded once the training rows are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pt_core.data.cells import hold_numbers, parse_categories, parse_numbers
from pt_core.data.checks import join, rows_of
from pt_core.data.config import DataConfig, SplitName, TableConfig
from pt_core.data.encoding import MISSING
from pt_core.data.rows import Growing
from pt_core.data.source import RawData
from pt_core.data.sources.columns import Columns
from pt_core.data.tables import Cells, iter_cells
from pt_core.errors import DataError
from pt_core.isolation import report_progress


def read_table(paths: Mapping[SplitName | None, Path], *, config: DataConfig, scratch: Path) -> RawData:
    """Read every row once; numbers and categories go to disk, so that a table may be larger than the memory.

    Raises:
        DataError: a file cannot be read, or lacks a column that the configuration names.
    """
    assert config.table is not None
    reader = _Reader(config.table, scratch)
    for split, path in paths.items():
        for cells in iter_cells(path):
            reader.add(cells, split, path)
    if reader.num_rows == 0:
        raise DataError(f"{', '.join(str(path) for path in paths.values())}: the table has no row")
    return reader.finish(config)


class _Reader:
    """What is gathered from piece to piece."""

    def __init__(self, table: TableConfig, scratch: Path) -> None:
        self._table = table
        self._numbers, self._codes = Growing(scratch / "numbers"), Growing(scratch / "codes")
        self._marks = Growing(scratch / "marks")
        self._names: tuple[list[str], list[str]] | None = None
        self._vocabularies: list[dict[str, int]] = []
        self._classes: dict[str, int] = {}
        self._target: list[NDArray[np.int32]] = []
        self._ids: list[str] = []
        self._splits: list[str] = []
        self.num_rows = 0

    def add(self, cells: Cells, split: SplitName | None, path: Path) -> None:
        """Take in some rows."""
        if self._names is None:
            self._names = choose(cells, self._table, path)
            self._vocabularies = [{} for _ in self._names[1]]
        numeric, categorical = self._names
        _refuse_absent(cells, [*numeric, *categorical, *_special(self._table)], path)
        length = len(cells[self._table.target])
        found = [parse_numbers(cells[name]) for name in numeric]
        marks = [one.is_text.astype(np.uint8) + 2 * one.is_infinite.astype(np.uint8) for one in found]
        self._numbers.append(_beside([one.values for one in found], length, np.float64))
        self._marks.append(_beside(marks, length, np.uint8))
        codes = [
            _places(cells[name], words) for name, words in zip(categorical, self._vocabularies, strict=True)
        ]
        self._codes.append(_beside(codes, length, np.int32))
        self._target.append(_places(cells[self._table.target], self._classes))
        if self._table.id is not None:
            self._ids += parse_categories(cells[self._table.id])
        if self._table.split is not None:
            self._splits += parse_categories(cells[self._table.split])
        elif split is not None:
            self._splits += [split] * length
        self.num_rows += length
        report_progress(self.num_rows, self.num_rows, "rows read")

    def finish(self, config: DataConfig) -> RawData:
        """Return what was read."""
        assert self._names is not None
        labels = config.labels or _sorted_labels(self._classes)
        y, problems = _number_classes(
            list(self._classes), np.concatenate(self._target), labels=labels, column=self._table.target
        )
        columns = Columns(
            numeric=tuple(self._names[0]),
            categorical=tuple(self._names[1]),
            values=self._numbers.finish(),
            codes=self._codes.finish(),
            vocabularies=tuple(tuple(words) for words in self._vocabularies),
            table=self._table,
        )
        problems += columns.problems(self._marks.finish())
        ids = np.array(self._ids, dtype=np.str_) if self._ids else None
        if ids is not None and (ids == MISSING).any():
            problems.append(
                f"column {self._table.id} has {(ids == MISSING).sum()} missing id(s) in {rows_of(ids == MISSING)}"
            )
        return RawData(
            # Only its size is known before the training rows are.
            x=np.broadcast_to(
                np.float32(0), (self.num_rows, max(1, len(self._names[0]) + len(self._names[1])))
            ),
            y=y,
            labels=labels,
            input_range=None,
            ids=ids,
            split=np.array(self._splits, dtype=np.str_) if self._splits else None,
            problems=tuple(problems),
            fit=columns.fit,
            content=columns.content,
        )


def _beside(columns: Sequence[NDArray[Any]], length: int, dtype: type[np.generic]) -> NDArray[Any]:
    """Return columns side by side, (length, number of columns)."""
    return np.stack(columns, axis=1).astype(dtype) if columns else np.empty((length, 0), dtype=dtype)


def choose(cells: Cells, table: TableConfig, path: Path) -> tuple[list[str], list[str]]:
    """Return the columns of numbers and those of categories, by the configuration and the first rows.

    Raises:
        DataError: a column that is named is not there, none is left, or one that holds text has no use.
    """
    special = _special(table)
    listed = [*(table.numeric or ()), *(table.categorical or ())]
    _refuse_absent(cells, [*special, *listed, *table.ignore], path)
    rest = [name for name in cells if name not in {*special, *listed, *table.ignore}]
    numeric = list(table.numeric or ())
    categorical = list(table.categorical or ())
    if table.numeric is None:
        numeric = [name for name in rest if hold_numbers(cells[name])]
        rest = [name for name in rest if name not in numeric]
    if table.categorical is None:
        categorical = rest
    elif table.numeric is None and rest:
        raise DataError(
            f"{path}: column {join(rest)} holds no numbers and is not in data.table.categorical; list it there or in ignore"
        )
    if not numeric and not categorical:
        raise DataError(f"{path}: no column is left to learn from besides {join(special)}")
    return numeric, categorical


def _special(table: TableConfig) -> list[str]:
    return [name for name in (table.target, table.id, table.split) if name is not None]


def _refuse_absent(cells: Cells, names: Sequence[str], path: Path) -> None:
    absent = [name for name in names if name not in cells]
    if absent:
        has = join(list(cells))
        raise DataError(f"{path}: has no column {join(absent)}, found {has}; correct data.table")


def _places(cells: Sequence[Any], words: dict[str, int]) -> NDArray[np.int32]:
    """Return each cell's place in a vocabulary, which grows."""
    found = [words.setdefault(word, len(words)) for word in parse_categories(cells)]
    return np.array(found, dtype=np.int32)


def _sorted_labels(classes: Iterable[str]) -> tuple[str, ...]:
    """Return the classes that are there, by number where they all are numbers."""
    names = sorted(set(classes) - {MISSING})
    if all(name.lstrip("+-").isdigit() for name in names):
        names.sort(key=int)
    return tuple(names)


def _number_classes(
    classes: Sequence[str], target: NDArray[np.int32], *, labels: Sequence[str], column: str
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the class number of each row, whose target is a place in ``classes``, and what is wrong with it."""
    numbers = {label: number for number, label in enumerate(labels)}
    y = np.array([numbers.get(name, -1) for name in classes], dtype=np.int64)[target]
    is_missing = np.array([name == MISSING for name in classes], dtype=np.bool_)[target]
    problems = []
    if is_missing.any():
        problems.append(
            f"column {column} (the class) has {is_missing.sum()} missing value(s) in {rows_of(is_missing)}"
        )
    unknown = (y < 0) & ~is_missing
    if unknown.any():
        found = [repr(name) for name in sorted(classes) if name not in numbers and name != MISSING]
        problems.append(
            f"column {column} (the class) is {join(found)} in {rows_of(unknown)}, which data.labels has not; "
            f"expected {join(list(labels))}"
        )
    # Rows without a class are counted above; the checks that follow are about the others.
    return np.where(y < 0, 0, y), problems
