"""Encoded images in one file, decoded by worker processes as their rows are read."""

from __future__ import annotations

import atexit
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pt_core.data.encoding import ImageDecoding
from pt_core.data.images import decode, to_unit
from pt_core.environment import num_cpus
from pt_core.errors import StepFailed

_FEW = 16
"""So many images are decoded sooner here than by another process."""

A = TypeVar("A")
R = TypeVar("R")


class PackedImages:
    """The images of one split: read like a (N, C, H, W) float32 array, by a slice or by row numbers."""

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[np.int64], decoding: ImageDecoding) -> None:
        self._blob = blob
        self._offsets = offsets
        self._decoding = decoding

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return (len(self), *self._decoding.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Type of a value once decoded."""
        return np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of all images once decoded."""
        return int(np.prod(self.shape, dtype=np.int64)) * 4

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._offsets) - 1

    def __getitem__(self, rows: Any, /) -> NDArray[np.float32]:
        """Return decoded images: of one row number (C, H, W), of a slice or of (K,) numbers (K, C, H, W)."""
        numbers = _numbers(rows, len(self))
        wanted = np.atleast_1d(numbers).tolist()
        encoded = [bytes(self._blob[self._offsets[row] : self._offsets[row + 1]]) for row in wanted]
        found = to_unit(_decode(encoded, self._decoding))
        return found if np.ndim(numbers) else np.asarray(found[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all images decoded."""
        return np.asarray(self[:], dtype=dtype)


def _numbers(rows: Any, num: int) -> NDArray[np.int64]:
    """Return the row numbers, from 0, of a slice, a number or numbers; of as many as are asked and not of all."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(num))
    numbers = np.asarray(rows)
    numbers = np.flatnonzero(numbers) if numbers.dtype == bool else numbers.astype(np.int64)
    if ((numbers < -num) | (numbers >= num)).any():
        raise IndexError(f"row {numbers.min()} to {numbers.max()} of {num} images")
    return np.where(numbers < 0, numbers + num, numbers)


def _decode(encoded: Sequence[bytes], decoding: ImageDecoding) -> NDArray[np.uint8]:
    if len(encoded) <= _FEW:
        return decode_all((tuple(encoded), decoding))
    size = -(-len(encoded) // num_cpus())
    parts = [tuple(encoded[start : start + size]) for start in range(0, len(encoded), size)]
    return np.concatenate(list(in_workers(decode_all, [(part, decoding) for part in parts])))


def decode_all(asked: tuple[tuple[bytes, ...], ImageDecoding]) -> NDArray[np.uint8]:
    """Return (K, C, H, W) pixels of encoded images."""
    encoded, decoding = asked
    if not encoded:
        return np.empty((0, *decoding.shape), dtype=np.uint8)
    return np.stack([decode(content, decoding) for content in encoded])


def in_workers(function: Callable[[A], R], asked: Sequence[A]) -> Iterator[R]:
    """Yield ``function(one)`` for each one that is asked, computed by worker processes that stay for the next call.

    Raises:
        StepFailed: a worker died.
    """
    try:
        yield from _workers().map(function, asked)
    except BrokenProcessPool as error:
        raise StepFailed(
            "a process that decodes images died: the machine ran out of memory, or a file crashes its decoder"
        ) from error


@cache
def _workers() -> ProcessPoolExecutor:
    """Return the processes that decode, one for each core; started anew, since a fork would copy threads' locks."""
    pool = ProcessPoolExecutor(num_cpus(), mp_context=multiprocessing.get_context("spawn"))
    atexit.register(pool.shutdown, wait=False, cancel_futures=True)
    return pool
