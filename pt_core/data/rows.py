"""Rows: samples that are read a piece at a time, so that none of them need fit into memory together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 16 * 2**20
"""Samples are read in pieces of about this size."""


class Rows(Protocol):
    """An array of samples, perhaps on disk or not yet decoded, read by a slice or by row numbers."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples, then the shape of one."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values that reading gives."""
        ...

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Return the samples of a slice or of (K,) row numbers as an array."""
        ...


def chunk_length(rows: Rows) -> int:
    """Return how many samples are one piece."""
    per_sample = int(np.prod(rows.shape[1:], dtype=np.int64)) * max(4, rows.dtype.itemsize)
    return max(1, CHUNK_BYTES // max(1, per_sample))


def chunks(rows: Rows, order: NDArray[np.int64] | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the samples piece by piece, each with where it begins; by ``order`` where one is given."""
    length = chunk_length(rows)
    total = len(rows) if order is None else len(order)
    for start in range(0, total, length):
        wanted = slice(start, start + length) if order is None else order[start : start + length]
        yield start, np.asarray(rows[wanted])


class Picked:
    """Some rows of others, in an order of their own."""

    def __init__(self, rows: Rows, order: NDArray[np.int64]) -> None:
        self._rows = rows
        self._order = order

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples, then the shape of one."""
        return (len(self._order), *self._rows.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._rows.dtype

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._order)

    def __getitem__(self, rows: Any, /) -> Any:
        """Return samples by slice or numbers."""
        return self._rows[self._order[rows]]


class Growing:
    """A file of equal rows that is written piece by piece and then mapped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._num_rows = 0
        self._like: NDArray[Any] | None = None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of one row; ``None`` before the first."""
        return None if self._like is None else self._like.shape[1:]

    def append(self, rows: NDArray[Any]) -> None:
        """Write rows of the shape and type of the first ones."""
        if self._like is None:
            self._like = rows[:0]
        assert rows.shape[1:] == self._like.shape[1:], f"{rows.shape} after {self._like.shape}"
        with self._path.open("ab") as stream:
            stream.write(np.ascontiguousarray(rows, dtype=self._like.dtype).data)
        self._num_rows += len(rows)

    def finish(self) -> NDArray[Any]:
        """Return what is in the file, mapped read-only."""
        if self._like is None or not self._num_rows:
            return np.empty((0, *(self.shape or ())), dtype=np.float32)
        shape = (self._num_rows, *self._like.shape[1:])
        if 0 in shape:
            return np.empty(shape, dtype=self._like.dtype)
        return np.memmap(self._path, mode="r", dtype=self._like.dtype, shape=shape)
