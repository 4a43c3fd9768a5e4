"""Raw rows of a CSV or Parquet file as samples, by the encoding that the network was trained with."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pt_core.data.encode import encode_cells
from pt_core.data.encoding import TableEncoding
from pt_core.data.tables import iter_cells
from pt_core.errors import DataError


def read_rows(path: Path, encoding: TableEncoding) -> NDArray[np.float32]:
    """Return the rows of a file as (N, outputs) float32; columns may stand in any order, others are not read.

    Raises:
        DataError: the file cannot be read, lacks a column, or rows cannot be encoded; the details name each.
    """
    # Read by Python's own module: pandas is not needed to serve an artifact.
    pieces = [_csv_cells(path)] if path.suffix.lower() == ".csv" else list(iter_cells(path))
    if not pieces or not any(len(cells) for cells in pieces[0].values()):
        raise DataError(f"{path}: holds no rows below its header")
    parts, start = [], 0
    for cells in pieces:
        parts.append(encode_rows(cells, encoding, where=str(path), start=start))
        start += len(parts[-1])
    return np.concatenate(parts)


def encode_rows(
    cells: Mapping[str, Sequence[Any]], encoding: TableEncoding, *, where: str, start: int = 0
) -> NDArray[np.float32]:
    """Return raw rows as samples, all or none.

    Args:
        cells: the cells of each column by its name.
        encoding: what was learnt on the training split.
        where: the file, for a message.
        start: number of the first row, for a message.

    Raises:
        DataError: a column is not there, or rows cannot be encoded; the details name each.
    """
    samples, problems = encode_cells(cells, encoding, where=where)
    if problems:
        raise DataError(
            f"{where}: {len(problems)} of {len(samples)} rows cannot be encoded as the training data were",
            details=[f"row {start + row}: {problems[row]}" for row in sorted(problems)],
        )
    return samples


def _csv_cells(path: Path) -> dict[str, list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a text file of comma-separated values: {error}") from error
    if not rows:
        raise DataError(f"{path}: is empty, expected a header with the names of the columns")
    header, *body = rows
    if len(set(header)) < len(header):
        raise DataError(f"{path}: the header names a column twice; every column needs a name of its own")
    for number, row in enumerate(body):
        if len(row) != len(header):
            raise DataError(
                f"{path}: row {number} has {len(row)} cells, expected {len(header)} as in the header"
            )
    return {name: [row[place] for row in body] for place, name in enumerate(header)}
