"""Source: a .npy file of samples, mapped into memory and never loaded whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pt_core.bundle import hash_file
from pt_core.errors import DataError
from pt_core.inference.preprocess import check_array
from pt_core.modeling.spec import ModelSpec
from pt_core.scoring.source import Block, file_stamp
from pt_core.scoring.values import make_block, problems_of


class ArraySource:
    """The rows of a .npy file, (N, *input_shape)."""

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        """Map the file.

        Raises:
            DataError: it is no plain NumPy file, or its shape or dtype is another.
        """
        try:
            mapped: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{path}: not a plain NumPy file: {error}") from error
        self._x = check_array(mapped, spec, path)
        self._path = path
        self._spec = spec

    @property
    def about_num_rows(self) -> int:
        """How many rows it has."""
        return len(self._x)

    def fingerprint(self) -> str:
        """Return the file's SHA-256."""
        return hash_file(self._path)

    def stamp(self) -> str:
        """Return the file's size and time."""
        return file_stamp(self._path)

    def blocks(self, *, start: int, size: int) -> Iterator[Block]:
        """Yield slices of the array as float32."""
        for first in range(start, len(self._x), size):
            with np.errstate(over="ignore"):
                samples = np.array(self._x[first : first + size], dtype=np.float32)
            problems = problems_of(samples, self._spec, ())
            rows = range(first, first + len(samples))
            yield make_block(samples, problems, inputs=[self._path.name] * len(samples), rows=rows)
