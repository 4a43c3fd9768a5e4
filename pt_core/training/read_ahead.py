"""ReadAhead: samples too many to be kept, of which the next batch is read while the last one is computed with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


class ReadAhead:
    """Reads like the array that it is given; what is expected is read one batch ahead, by a thread of its own.

    A read draws nothing at random, so that who trains sees the same batches either way. Only the bytes are read
    ahead, not copied to a device: which one is current is a matter of each thread.
    """

    def __init__(self, rows: NDArray[np.float32]) -> None:
        """Read nothing yet.

        Args:
            rows: (N, *input_shape) float32 on disk, or what reads like it.
        """
        self._rows = rows
        self._expected: Iterator[torch.Tensor] = iter(())
        self._next: tuple[NDArray[np.int64], Future[NDArray[np.float32]]] | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *input_shape)."""
        return tuple(self._rows.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all samples once read."""
        return int(self._rows.nbytes)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._rows)

    def expect(self, batches: Iterable[torch.Tensor]) -> None:
        """Begin to read the first of ``batches``, row numbers (B,) int64, that will be asked for in this order."""
        self._expected = iter(batches)
        self._begin_next()

    def __getitem__(self, rows: Any, /) -> NDArray[np.float32]:
        """Return the samples of a slice or of row numbers, read now unless they are the next expected."""
        if self._next is None or isinstance(rows, slice) or not np.array_equal(self._next[0], rows):
            read: NDArray[np.float32] = self._rows[rows]
            return read
        found = self._next[1].result()
        self._begin_next()
        return found

    def _begin_next(self) -> None:
        batch = next(self._expected, None)
        if batch is None:
            self._next = None
            return
        numbers = batch.numpy()
        self._next = numbers, self._reader.submit(self._rows.__getitem__, numbers)
