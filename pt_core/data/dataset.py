"""Dataset: a split, checked set of samples on disk, and how to read a split of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.bundle import Bundle
from pt_core.data.config import SplitName
from pt_core.record import Record


class Split(Record):
    """One split of a dataset."""

    name: SplitName
    """Which split."""
    num_samples: int
    """How many samples it holds."""
    ids_sha256: str
    """Digest of its sample ids in order; equal digests mean the same samples."""


class DatasetInfo(Record):
    """What the manifest of a dataset says about it."""

    source: str
    """Name of the source."""
    fingerprint: str
    """SHA-256 over every sample, label and id, in order of id: the content, however it is split."""
    labels: tuple[str, ...]
    """Name of each class."""
    input_shape: tuple[int, ...]
    """Shape of one sample."""
    input_range: tuple[float, float] | None
    """Least and greatest legal input value, or ``None`` for a table."""
    mean: tuple[float, ...]
    """Per channel (or column) mean of the training split."""
    std: tuple[float, ...]
    """Per channel (or column) deviation of the training split; 1 where a column is constant."""
    splits: tuple[Split, ...]
    """The four splits."""

    def split(self, name: SplitName) -> Split:
        """Return what is known of one split."""
        return next(split for split in self.splits if split.name == name)


class Dataset(DatasetInfo, Bundle):
    """A dataset on disk."""


class Samples(NamedTuple):
    """The samples of one split, memory-mapped."""

    x: NDArray[np.float32]
    """(N, *input_shape) float32, in input units."""
    y: NDArray[np.int64]
    """(N,) int64 class numbers, 0 to num_classes - 1."""
    ids: NDArray[np.int64]
    """(N,) int64 sample ids, unique over all splits."""


def load_split(dataset: Dataset, name: SplitName) -> Samples:
    """Return the samples of a split, memory-mapped and in a fixed order."""
    folder = Path(dataset.directory)
    x, y, ids = (
        np.load(folder / f"{name}_{part}.npy", mmap_mode="r", allow_pickle=False)
        for part in ("x", "y", "ids")
    )
    return Samples(x, y, ids)
