"""Which columns of a table are the network's input, and which one names the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pt_core.data.encoding import TableEncoding
from pt_core.errors import DataError
from pt_core.modeling.spec import ModelSpec


class Columns(NamedTuple):
    """The columns of a table by their positions."""

    features: tuple[int, ...]
    """The input of the network, in its order."""
    names: tuple[str, ...]
    """What those are called."""
    id: int | None
    """The one that names the rows."""


def choose_columns(
    names: Sequence[str], spec: ModelSpec, *, id_column: str | None, where: Path, is_named: bool = True
) -> Columns:
    """Return the columns to read: those of the training data by their names, wherever they stand.

    Where the network was trained on numbers without names, it is all columns in their order, but for the one that
    names the rows.

    Args:
        names: the columns of the table.
        spec: the network's input.
        id_column: name of the column that names the rows.
        where: the file, for a message.
        is_named: whether the file names its columns.

    Raises:
        DataError: a column is not there, is there twice, or the others are not as many as the network takes.
    """
    listed = _listed(names) if is_named else f"{len(names)} columns and no header"
    if id_column is not None and (not is_named or list(names).count(id_column) != 1):
        found = "two columns" if is_named and id_column in names else "no column"
        raise DataError(f"{where}: {found} {id_column!r} for the rows' ids; it has {listed}")
    id_at = list(names).index(id_column) if id_column is not None else None
    if spec.table is not None:
        return Columns(*_by_name(names, spec.table, where, listed), id_at)
    features = tuple(at for at in range(len(names)) if at != id_at)
    expected = math.prod(spec.input_shape)
    if len(features) != expected:
        but = f" besides the id {id_column}" if id_column is not None else ""
        raise DataError(
            f"{where}: {len(features)} columns{but}, expected {expected} for the network's ({spec.describe_input()}); "
            f"it has {listed}"
        )
    return Columns(features, tuple(names[at] for at in features), id_at)


def _by_name(
    names: Sequence[str], encoding: TableEncoding, where: Path, listed: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    expected = tuple(column.name for column in encoding.columns)
    problems = [f"{name}: missing" for name in expected if name not in names]
    problems += [f"{name}: {names.count(name)} columns" for name in expected if names.count(name) > 1]
    if problems:
        raise DataError(
            f"{where}: lacks columns of the training data, or has them twice; it has {listed}",
            details=problems,
        )
    return tuple(names.index(name) for name in expected), expected


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more
