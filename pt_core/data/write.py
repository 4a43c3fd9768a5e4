"""Write splits piece by piece, with the statistics of the training split and the fingerprint of the content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pt_core.data.assemble import Assembled
from pt_core.data.config import DataConfig, ImagesConfig, SplitName
from pt_core.data.dataset import packed_paths
from pt_core.data.rows import chunks
from pt_core.data.source import RawData
from pt_core.isolation import report_progress


class Statistics:
    """Mean and deviation of each channel (or column), gathered piece by piece in float64."""

    def __init__(self) -> None:
        self._count = 0
        self._shift: NDArray[np.float64] | None = None
        self._sums: list[NDArray[np.float64]] = []
        self._bounds: list[NDArray[np.float32]] = []

    def add(self, x: NDArray[np.float32]) -> None:
        """Take in (N, C, H, W) or (N, F)."""
        axes = (0, *range(2, x.ndim))
        if self._shift is None:
            # Sums of squares cancel unless what is summed lies around zero.
            self._shift = x.mean(axis=axes, dtype=np.float64)
            self._sums = [np.zeros_like(self._shift), np.zeros_like(self._shift)]
            self._bounds = [x.min(axis=axes), x.max(axis=axes)]
        moved = x - self._shift.reshape(-1, *[1] * (x.ndim - 2))
        self._sums = [self._sums[0] + moved.sum(axis=axes), self._sums[1] + (moved**2).sum(axis=axes)]
        least, greatest = self._bounds
        self._bounds = [np.minimum(least, x.min(axis=axes)), np.maximum(greatest, x.max(axis=axes))]
        self._count += x.size // x.shape[1]

    def result(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and deviation; the deviation of a constant column is 1."""
        assert self._shift is not None
        offset, square = self._sums[0] / self._count, self._sums[1] / self._count
        std = np.sqrt(np.maximum(square - offset**2, 0.0))
        # A constant column has a deviation of rounding errors, which would blow it up to noise.
        constant = (self._bounds[0] == self._bounds[1]) | (std < np.finfo(np.float32).tiny)
        return tuple((self._shift + offset).tolist()), tuple(np.where(constant, 1.0, std).tolist())


def is_packed(name: SplitName, *, raw: RawData, data: Assembled, config: DataConfig) -> bool:
    """Return whether a split is kept as encoded images, because decoded ones are above the limit of the cache."""
    if raw.packed is None or name != "train":
        return False
    num_bytes = len(data.splits["train"]) * int(np.prod(data.x.shape[1:])) * 4
    return num_bytes > (config.images or ImagesConfig()).max_cached_gib * 2**30


def write_split(
    folder: Path,
    name: SplitName,
    *,
    raw: RawData,
    data: Assembled,
    config: DataConfig,
    statistics: Statistics,
) -> None:
    """Write one split; the training split's values go into the statistics too."""
    ids = data.splits[name]
    np.save(folder / f"{name}_y.npy", data.y[ids], allow_pickle=False)
    np.save(folder / f"{name}_ids.npy", ids, allow_pickle=False)
    packed = is_packed(name, raw=raw, data=data, config=config)
    if packed:
        _pack(folder, name, raw, data.order[ids])
    shape = (len(ids), *data.x.shape[1:])
    path = folder / f"{name}_x.npy"
    target = None if packed else np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for start, piece in chunks(data.x, ids):
        values = piece.astype(np.float32, copy=False)
        if target is not None:
            target[start : start + len(values)] = values
        if name == "train":
            statistics.add(values)
        report_progress(start + len(values), len(ids), f"writing {name}")
    if target is not None:
        target.flush()


def _pack(folder: Path, name: SplitName, raw: RawData, rows: NDArray[np.int64]) -> None:
    assert raw.packed is not None
    blob, offsets = packed_paths(folder, name)
    ends = [0]
    with blob.open("wb") as stream:
        for row in rows.tolist():
            ends.append(ends[-1] + stream.write(raw.packed(row)))
    np.save(offsets, np.array(ends, dtype=np.int64), allow_pickle=False)


def write_sources(folder: Path, raw: RawData, data: Assembled) -> None:
    """Write which file each sample comes from, and every file that could not be used, where samples are files."""
    if raw.names is None:
        return
    names = [raw.names[row] for row in data.order.tolist()]
    left_out = [one.model_dump() for one in raw.quarantined]
    (folder / "files.json").write_text(json.dumps({"samples": names, "quarantined": left_out}, indent=0))


def fingerprint(raw: RawData, data: Assembled) -> str:
    """Return the SHA-256 over every sample, label and id, in order of id: the content, however it is split."""
    digest = hashlib.sha256(repr(data.x.shape if raw.fit is None else data.x.shape[:1]).encode())
    if raw.content is not None:
        for part in raw.content(data.order):
            digest.update(part)
    else:
        for _, piece in chunks(data.x):
            digest.update(np.ascontiguousarray(piece, dtype=np.float32).data)
    for values in (data.y, np.arange(len(data.y), dtype=np.int64)):
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def ids_digest(ids: NDArray[np.int64]) -> str:
    """Return the SHA-256 of sample ids in order."""
    return hashlib.sha256(np.ascontiguousarray(ids, dtype="<i8").data).hexdigest()
