"""Read CSV and Parquet files piece by piece, and their cells as numbers or as categories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pt_core.data.encoding import MISSING
from pt_core.errors import DataError

SUFFIXES = (".csv", ".parquet")
"""Names of files that are taken for tables."""

_CELLS = 2_000_000
"""Cells that are in memory at once."""


class Numbers(NamedTuple):
    """The cells of a column of numbers."""

    values: NDArray[np.float64]
    """(N,) NaN where a cell is missing or no number."""
    is_text: NDArray[np.bool_]
    """(N,) whether the cell holds something else than a number."""
    is_infinite: NDArray[np.bool_]
    """(N,) whether the number is infinite as float32."""


def iter_frames(path: Path) -> Iterator[pd.DataFrame]:
    """Yield the rows of a table in pieces of bounded size; cells of a CSV file are text.

    Raises:
        DataError: the file is missing, of another kind or cannot be parsed, or two columns have one name.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path}: cannot read {path.suffix or 'a file with no suffix'}, expected {' or '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        yield from _csv(path) if path.suffix.lower() == ".csv" else _parquet(path)
    # pandas' and pyarrow's errors of parsing are of these two; neither has one for all.
    except (ValueError, OSError) as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{path}: cannot be read as a table: {said[:300]}") from error


def _csv(path: Path) -> Iterator[pd.DataFrame]:
    first = pd.read_csv(path, header=None, nrows=1, dtype=str, encoding="utf-8-sig")
    header = first.iloc[0].fillna("").tolist()
    _check_header([str(name) for name in header], path)
    rows = max(100, _CELLS // len(header))
    reader = pd.read_csv(path, dtype=str, chunksize=rows, encoding="utf-8-sig", index_col=False)
    with reader:
        yield from reader


def _parquet(path: Path) -> Iterator[pd.DataFrame]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        names = list(file.schema_arrow.names)
        _check_header(names, path)
        for batch in file.iter_batches(batch_size=max(100, _CELLS // max(1, len(names)))):
            yield batch.to_pandas()


def _check_header(names: list[str], path: Path) -> None:
    # pandas would rename the second one, silently.
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or "" in names:
        which = f"{', '.join(repeated)} twice" if repeated and repeated != [""] else "a column without a name"
        raise DataError(f"{path}: the header has {which}; every column needs a name of its own")


def numbers(column: pd.Series) -> Numbers:
    """Return the cells of a column as numbers."""
    found = pd.to_numeric(column, errors="coerce")
    values = found.to_numpy(dtype=np.float64, na_value=np.nan)
    is_text = np.asarray(column.notna() & found.isna(), dtype=np.bool_)
    with np.errstate(over="ignore"):
        is_infinite = np.isinf(values.astype(np.float32))
    return Numbers(values, is_text, is_infinite)


def categories(column: pd.Series) -> NDArray[np.object_]:
    """Return the cells of a column as text; the empty text is a missing cell."""
    is_missing = np.asarray(column.isna(), dtype=np.bool_)
    if column.dtype.kind == "f":
        # Whole numbers beside missing ones were read as 1.0; the category is 1 all the same.
        values = column.to_numpy(dtype=np.float64)
        whole = np.isfinite(values) & (values == np.floor(values))
        texts = [
            str(int(v)) if is_whole else str(v) for v, is_whole in zip(values.tolist(), whole, strict=True)
        ]
        cells = np.array(texts, dtype=object)
    else:
        cells = column.astype(object).map(str, na_action="ignore").to_numpy(dtype=object)
    cells[is_missing] = MISSING
    return cells


def holds_numbers(column: pd.Series) -> bool:
    """Return whether a column's first rows are numbers, so that it is learnt from as such."""
    if column.dtype.kind == "b":
        return False
    found = numbers(column)
    return not found.is_text.any() and bool(np.isfinite(found.values).any())
