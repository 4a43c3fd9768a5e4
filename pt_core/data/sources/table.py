"""Source "table": CSV or Parquet files, read once into columns on disk, encoded once the training rows are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pt_core.data.checks import join, rows_of
from pt_core.data.config import DataConfig, SplitName, TableConfig
from pt_core.data.encoding import MISSING
from pt_core.data.rows import Growing
from pt_core.data.source import RawData
from pt_core.data.sources.columns import Columns
from pt_core.data.tables import categories, holds_numbers, iter_frames, numbers
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
        for frame in iter_frames(path):
            reader.add(frame, split, path)
    if reader.num_rows == 0:
        raise DataError(f"{', '.join(str(path) for path in paths.values())}: the table has no row")
    return reader.finish(config)


class _Reader:
    """What is gathered from piece to piece."""

    def __init__(self, table: TableConfig, scratch: Path) -> None:
        self._table = table
        self._numbers, self._codes = Growing(scratch / "numbers"), Growing(scratch / "codes")
        self._names: tuple[list[str], list[str]] | None = None
        self._vocabularies: list[dict[str, int]] = []
        self._marks: list[NDArray[np.uint8]] = []
        self._target: list[NDArray[np.object_]] = []
        self._ids: list[NDArray[np.object_]] = []
        self._splits: list[NDArray[np.object_]] = []
        self.num_rows = 0

    def add(self, frame: pd.DataFrame, split: SplitName | None, path: Path) -> None:
        """Take in some rows."""
        if self._names is None:
            self._names = choose(frame, self._table, path)
            self._vocabularies = [{} for _ in self._names[1]]
        numeric, categorical = self._names
        _refuse_absent(frame, [*numeric, *categorical, *_special(self._table)], path)
        found = [numbers(frame[name]) for name in numeric]
        empty = np.empty((len(frame), 0))
        self._numbers.append(np.stack([one.values for one in found], axis=1) if found else empty)
        marks = [one.is_text.astype(np.uint8) + 2 * one.is_infinite.astype(np.uint8) for one in found]
        self._marks.append(np.stack(marks, axis=1) if found else empty.astype(np.uint8))
        codes = [
            self._encode(frame[name], words)
            for name, words in zip(categorical, self._vocabularies, strict=True)
        ]
        self._codes.append(np.stack(codes, axis=1) if codes else empty.astype(np.int32))
        self._target.append(categories(frame[self._table.target]))
        if self._table.id is not None:
            self._ids.append(categories(frame[self._table.id]))
        if self._table.split is not None:
            self._splits.append(categories(frame[self._table.split]))
        elif split is not None:
            self._splits.append(np.full(len(frame), split, dtype=object))
        self.num_rows += len(frame)
        report_progress(self.num_rows, 0, "rows read")

    def finish(self, config: DataConfig) -> RawData:
        """Return what was read."""
        assert self._names is not None
        target = np.concatenate(self._target)
        labels = config.labels or _sorted_labels(target)
        y, problems = _classes(target, labels, self._table.target)
        columns = Columns(
            numeric=tuple(self._names[0]),
            categorical=tuple(self._names[1]),
            values=self._numbers.finish(),
            codes=self._codes.finish(),
            vocabularies=tuple(tuple(words) for words in self._vocabularies),
            table=self._table,
        )
        problems += columns.problems(np.concatenate(self._marks))
        ids = np.concatenate(self._ids).astype(np.str_) if self._ids else None
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
            split=np.concatenate(self._splits).astype(np.str_) if self._splits else None,
            problems=tuple(problems),
            fit=columns.fit,
            content=columns.content,
        )

    @staticmethod
    def _encode(column: pd.Series, words: dict[str, int]) -> NDArray[np.int32]:
        """Return each cell's place in a vocabulary, which grows."""
        codes, found = pd.factorize(categories(column))
        places = np.array([words.setdefault(str(word), len(words)) for word in found], dtype=np.int32)
        encoded: NDArray[np.int32] = places[codes]
        return encoded


def choose(frame: pd.DataFrame, table: TableConfig, path: Path) -> tuple[list[str], list[str]]:
    """Return the columns of numbers and those of categories, by the configuration and the first rows.

    Raises:
        DataError: a column that is named is not there, none is left, or one that holds text has no use.
    """
    special = _special(table)
    listed = [*(table.numeric or ()), *(table.categorical or ())]
    _refuse_absent(frame, [*special, *listed, *table.ignore], path)
    rest = [str(name) for name in frame.columns if name not in {*special, *listed, *table.ignore}]
    numeric = list(table.numeric or ())
    categorical = list(table.categorical or ())
    if table.numeric is None:
        numeric = [name for name in rest if holds_numbers(frame[name])]
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


def _refuse_absent(frame: pd.DataFrame, names: Sequence[str], path: Path) -> None:
    absent = [name for name in names if name not in frame.columns]
    if absent:
        has = join([str(name) for name in frame.columns])
        raise DataError(f"{path}: has no column {join(absent)}, found {has}; correct data.table")


def _sorted_labels(target: NDArray[np.object_]) -> tuple[str, ...]:
    """Return the classes that are there, by number where they all are numbers."""
    names = sorted({str(name) for name in target.tolist()} - {MISSING})
    if all(name.lstrip("+-").isdigit() for name in names):
        names.sort(key=int)
    return tuple(names)


def _classes(
    target: NDArray[np.object_], labels: Sequence[str], name: str
) -> tuple[NDArray[np.int64], list[str]]:
    numbers_by_name = {label: number for number, label in enumerate(labels)}
    y = np.array([numbers_by_name.get(cell, -1) for cell in target.tolist()], dtype=np.int64)
    problems = []
    missing = target == MISSING
    if missing.any():
        problems.append(
            f"column {name} (the class) has {missing.sum()} missing value(s) in {rows_of(missing)}"
        )
    unknown = (y < 0) & ~missing
    if unknown.any():
        found = [repr(cell) for cell in sorted(set(target[unknown].tolist()))]
        problems.append(
            f"column {name} (the class) is {join(found)} in {rows_of(unknown)}, which data.labels has not; "
            f"expected {join(list(labels))}"
        )
    # Rows without a class are counted above; the checks that follow are about the others.
    return np.where(y < 0, 0, y), problems
