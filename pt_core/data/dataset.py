"""Dataset: a split, checked set of samples on disk, and how to read a split of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from pt_core.bundle import Bundle
from pt_core.data.config import SplitName
from pt_core.data.encoding import ImageDecoding, TableEncoding
from pt_core.data.source import Quarantined
from pt_core.record import Record


class Split(Record):
    """One split of a dataset."""

    name: SplitName
    """Which split."""
    num_samples: int
    """How many samples it holds."""
    ids_sha256: str
    """Digest of its sample ids in order; equal digests mean the same samples."""
    is_packed: bool = False
    """Whether it is kept as encoded images, which are decoded as they are read."""


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
    table: TableEncoding | None = None
    """How the rows of a table became numbers, learnt on the training split."""
    images: ImageDecoding | None = None
    """How image files became numbers."""
    num_quarantined: int = 0
    """How many files were left out because they could not be used."""
    quarantined: tuple[Quarantined, ...] = ()
    """The first of them; ``files.json`` in the bundle lists all."""

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
    """Return the samples of a split, memory-mapped (or decoded as they are read) and in a fixed order."""
    folder = Path(dataset.directory)
    y, ids = (_mapped(folder / f"{name}_{part}.npy") for part in ("y", "ids"))
    if not dataset.split(name).is_packed:
        return Samples(_mapped(folder / f"{name}_x.npy"), y, ids)
    from pt_core.data.packed import PackedImages

    assert dataset.images is not None
    blob, offsets = packed_paths(folder, name)
    images = PackedImages(np.memmap(blob, mode="r"), _mapped(offsets), dataset.images)
    # It is read like an array: by slices and row numbers, with a shape, a number of dimensions and of bytes.
    return Samples(cast("NDArray[np.float32]", images), y, ids)


def packed_paths(folder: Path, name: SplitName) -> tuple[Path, Path]:
    """Return the file of a packed split's encoded images, and that of where each begins."""
    return folder / f"{name}_images.bin", folder / f"{name}_offsets.npy"


def _mapped(path: Path) -> NDArray[Any]:
    mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped
