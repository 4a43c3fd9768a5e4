"""The protocol of an input that is read block by block, and what a block of it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pt_core.scoring.requests import BadRow

if TYPE_CHECKING:
    import pyarrow as pa


class Block(NamedTuple):
    """Consecutive rows of an input."""

    samples: NDArray[np.float32]
    """The rows that can be scored, (num_good, *input_shape) float32 in the units of the training data."""
    good: NDArray[np.bool_]
    """Which rows those are, one value for each row."""
    inputs: Sequence[str]
    """The file that each row is in."""
    rows: Sequence[int]
    """Its position in that file, from 0."""
    ids: pa.Array | None
    """Its name, where the user named a column of them."""
    bad: tuple[BadRow, ...]
    """The rows that cannot be scored."""


class Source(Protocol):
    """An input of any number of rows."""

    @property
    def about_num_rows(self) -> int:
        """How many rows it has; an estimate where only reading it all would tell."""
        ...

    def fingerprint(self) -> str:
        """Return what changes with the content; it may read everything."""
        ...

    def stamp(self) -> str:
        """Return what changes when somebody writes to it; it reads no content."""
        ...

    def blocks(self, *, start: int, size: int) -> Iterator[Block]:
        """Yield the rows from ``start`` on in order, ``size`` at a time and the rest last.

        Raises:
            DataError: the input as a whole cannot be read.
        """
        ...


def file_stamp(path: Path) -> str:
    """Return size and time of the last change of a file."""
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def digest_and_lines(path: Path) -> tuple[str, int]:
    """Return the SHA-256 of a file and how many line ends it has, in one pass."""
    digest, lines = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
            lines += chunk.count(b"\n")
    return digest.hexdigest(), lines
