"""RawData: what every source hands over, before any check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.data.encoding import ImageDecoding, TableEncoding
from pt_core.data.rows import Rows
from pt_core.record import Record


class Quarantined(Record):
    """One file that could not be used."""

    file: str
    """Its path below the folder of the samples."""
    reason: str
    """What is wrong with it."""


class Fitted(NamedTuple):
    """What a table is once its training rows are known."""

    x: Rows
    """(N, outputs) float32, encoded as it is read."""
    encoding: TableEncoding
    """What was learnt."""
    problems: Sequence[str]
    """What the encoding refuses."""


class RawData(NamedTuple):
    """The samples of a source, unchecked; a row is a sample."""

    x: Rows
    """(N, F) table rows or (N, C, H, W) images, of any dtype."""
    y: NDArray[Any]
    """(N,) class numbers, of any dtype."""
    labels: tuple[str, ...] | None
    """Name of each class; ``None`` where the source has none."""
    input_range: tuple[float, float] | None
    """Least and greatest legal input value; ``None`` for a table."""
    ids: NDArray[Any] | None = None
    """(N,) what says which rows belong together, and in which order they stand; ``None`` for each its own row."""
    split: NDArray[np.str_] | None = None
    """(N,) name of the split that the user put each row into; ``None`` where all are to be drawn."""
    problems: tuple[str, ...] = ()
    """What the source found wrong while reading."""
    fit: Callable[[NDArray[np.int64]], Fitted] | None = None
    """Learns the encoding of ``x`` from training rows, where ``x`` is not numbers yet."""
    content: Callable[[NDArray[np.int64]], Iterator[bytes]] | None = None
    """The content in an order of rows, for the fingerprint, where it is another than the bytes of ``x``."""
    decoding: ImageDecoding | None = None
    """How images were decoded."""
    names: Sequence[str] | None = None
    """(N,) the file that each row comes from, where each has one."""
    packed: Callable[[int], bytes] | None = None
    """The encoded bytes of a row, where training rows are to be decoded as they are read."""
    quarantined: tuple[Quarantined, ...] = ()
    """Files that could not be used."""
