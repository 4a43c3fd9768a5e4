"""From a path to the source that reads it."""

from __future__ import annotations

from pathlib import Path

from pt_core.errors import DataError
from pt_core.modeling.spec import ModelSpec
from pt_core.scoring.source import Source

READABLE = (".csv", ".parquet", ".npy")


def open_source(path: Path, spec: ModelSpec, *, id_column: str | None) -> Source:
    """Return the source for a folder of images or a file, with what can be checked of it before its rows.

    Raises:
        DataError: it is of another kind, or not what the network takes.
    """
    suffix = path.suffix.lower()
    if not path.is_dir() and suffix not in READABLE:
        found = suffix or "a file with no suffix"
        raise DataError(f"{path}: cannot read {found}, expected a folder of images, {', '.join(READABLE)}")
    if id_column is not None and (path.is_dir() or suffix == ".npy"):
        raise DataError(
            f"{path}: has no columns, so none names its rows; leave out the id column {id_column!r}"
        )
    # Each imported for itself: a folder of images needs no reader of tables.
    if path.is_dir():
        from pt_core.scoring.images import ImageSource

        return ImageSource(path, spec)
    if suffix == ".npy":
        from pt_core.scoring.arrays import ArraySource

        return ArraySource(path, spec)
    if suffix == ".csv":
        from pt_core.scoring.csv_ import CsvSource

        return CsvSource(path, spec, id_column)
    from pt_core.scoring.parquet import ParquetSource

    return ParquetSource(path, spec, id_column)
