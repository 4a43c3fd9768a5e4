"""What a cell of a table says, whatever file it is in: a number, a category, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.data.encoding import MISSING

MISSING_MARKS = frozenset({"", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "<na>"})
"""What stands for a missing cell in text, in lower case."""


class Numbers(NamedTuple):
    """The cells of a column of numbers."""

    values: NDArray[np.float64]
    """(N,) NaN where a cell is missing or no number."""
    is_text: NDArray[np.bool_]
    """(N,) whether the cell holds something else than a number."""
    is_infinite: NDArray[np.bool_]
    """(N,) whether the number is infinite as float32."""

    @property
    def is_missing(self) -> NDArray[np.bool_]:
        """(N,) whether the cell holds nothing."""
        return np.isnan(self.values) & ~self.is_text


def parse_numbers(cells: Sequence[Any]) -> Numbers:
    """Return the cells of a column as numbers."""
    try:
        # Most columns are numbers throughout, and this is several times as fast.
        values = np.fromiter(map(_to_float, cells), dtype=np.float64, count=len(cells))
        is_text = np.zeros(len(cells), dtype=np.bool_)
    except (TypeError, ValueError):
        parsed = [_number(cell) for cell in cells]
        is_text = np.array([number is None for number in parsed], dtype=np.bool_)
        values = np.array([np.nan if number is None else number for number in parsed], dtype=np.float64)
    with np.errstate(over="ignore"):
        is_infinite = np.isinf(values.astype(np.float32))
    return Numbers(values, is_text, is_infinite)


def parse_categories(cells: Sequence[Any]) -> list[str]:
    """Return the cells of a column as text; the empty text is a missing cell."""
    return [_category(cell) for cell in cells]


def hold_numbers(cells: Sequence[Any]) -> bool:
    """Return whether most of a column's first cells are numbers, so that the others are mistakes and not categories."""
    if any(isinstance(cell, bool) for cell in cells):
        return False
    found = parse_numbers(cells)
    num_numbers = len(cells) - int(found.is_text.sum()) - int(found.is_missing.sum())
    return num_numbers > int(found.is_text.sum())


def _is_missing(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip().lower() in MISSING_MARKS
    return cell is None or cell != cell  # NaN is the one value that differs from itself


def _number(cell: Any) -> float | None:
    """Return a cell as a number, NaN where it is missing, ``None`` where it is something else."""
    if _is_missing(cell):
        return float("nan")
    try:
        return _to_float(cell)
    except (TypeError, ValueError):
        return None


def _to_float(cell: Any) -> float:
    return to_number(cell) if isinstance(cell, str) else float(cell)


def to_number(text: str) -> float:
    """Return the number that a cell's text is; Python's own reading of ``1_000`` as 1000 is that of its source code.

    Raises:
        ValueError: it is none.
    """
    if "_" in text:
        raise ValueError(f"{text!r} is no number")
    return float(text)


def _category(cell: Any) -> str:
    if _is_missing(cell):
        return MISSING
    text = str(cell)
    # Whole numbers beside missing ones are often stored as 1.0; the category is 1 all the same.
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text
