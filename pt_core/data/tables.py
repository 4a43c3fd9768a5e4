"""Read CSV and Parquet files piece by piece, each a list of cells by the name of its column."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pt_core.errors import DataError

SUFFIXES = (".csv", ".parquet")
"""Names of files that are taken for tables."""

Cells = dict[str, list[Any]]
"""Some rows of a table."""

_IN_MEMORY = 500_000
"""Cells that are in memory at once."""


def iter_cells(path: Path) -> Iterator[Cells]:
    """Yield the rows of a table in pieces of bounded size; every cell of a CSV file is text.

    Raises:
        DataError: the file is missing, of another kind or cannot be parsed, or its header does not fit its rows.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: cannot read {suffix or 'a file with no suffix'}, expected {' or '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        yield from _csv(path) if suffix == ".csv" else _parquet(path)
    # pandas' and pyarrow's errors of parsing are of the first two; neither has one of its own for all.
    except (ValueError, OSError, csv.Error) as error:
        said = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise DataError(f"{path}: cannot be read as a table: {said[0][:300]}") from error


def _csv(path: Path) -> Iterator[Cells]:
    import pandas as pd

    # What is missing is decided in one place for training and prediction, not by pandas.
    options: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    header = _check_rows(path)
    with pd.read_csv(path, chunksize=max(100, _IN_MEMORY // len(header)), **options) as pieces:
        for piece in pieces:
            yield {name: piece[name].tolist() for name in header}


def _check_rows(path: Path) -> list[str]:
    """Return the header, after a look at every row: pandas would fill up a short one in silence."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = (row for row in csv.reader(stream) if row)
        header = next(rows, [])
        if not header:
            raise DataError(f"{path}: is empty, expected a header with the names of the columns")
        _check_header(header, path)
        for number, row in enumerate(rows):
            if len(row) != len(header):
                raise DataError(
                    f"{path}: row {number} has {len(row)} cell(s), expected {len(header)} as in the header"
                )
    return header


def _parquet(path: Path) -> Iterator[Cells]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
        names = list(file.schema_arrow.names)
        _check_header(names, path)
        for batch in file.iter_batches(batch_size=max(100, _IN_MEMORY // max(1, len(names)))):
            yield {name: column.to_pylist() for name, column in zip(names, batch.columns, strict=True)}


def _check_header(names: list[str], path: Path) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or "" in names:
        which = "a column without a name" if "" in names else f"{', '.join(repeated)} twice"
        raise DataError(f"{path}: the header has {which}; every column needs a name of its own")
