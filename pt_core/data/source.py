"""RawData: what every source hands over, before any check."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray


class RawData(NamedTuple):
    """The samples of a source, unchecked; the id of a sample is its row."""

    x: NDArray[Any]
    """(N, F) table rows or (N, C, H, W) images, of any dtype."""
    y: NDArray[Any]
    """(N,) class numbers, of any dtype."""
    labels: tuple[str, ...] | None
    """Name of each class; ``None`` where the source has none."""
    input_range: tuple[float, float] | None
    """Least and greatest legal input value; ``None`` for a table."""
