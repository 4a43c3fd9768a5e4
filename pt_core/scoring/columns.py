"""Which columns of a table are the network's input, and which one names the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
    """Return the columns to read: all in their order, but for the one that names the rows.

    Args:
        names: the columns of the table.
        spec: the network's input.
        id_column: name of the column that names the rows.
        where: the file, for a message.
        is_named: whether the file names its columns.

    Raises:
        DataError: there is no such column, there are two, or the others are not as many as the network takes.
    """
    listed = _listed(names) if is_named else f"{len(names)} columns and no header"
    if id_column is not None and (not is_named or list(names).count(id_column) != 1):
        found = "two columns" if is_named and id_column in names else "no column"
        raise DataError(f"{where}: {found} {id_column!r} for the rows' ids; it has {listed}")
    features = tuple(at for at, name in enumerate(names) if not is_named or name != id_column)
    expected = math.prod(spec.input_shape)
    if len(features) != expected:
        but = f" besides the id {id_column}" if id_column is not None else ""
        raise DataError(
            f"{where}: {len(features)} columns{but}, expected {expected} for the network's ({spec.describe_input()}); "
            f"it has {listed}"
        )
    called = tuple(names[at] for at in features)
    return Columns(features, called, list(names).index(id_column) if id_column is not None else None)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more
