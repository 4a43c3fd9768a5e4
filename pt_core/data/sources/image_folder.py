"""Source "image_folder": one folder of image files for each class, decoded by worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.data.checks import join
from pt_core.data.config import DataConfig, ImagesConfig, SplitName
from pt_core.data.encoding import ImageDecoding
from pt_core.data.files import files_below, hash_files
from pt_core.data.images import SUFFIXES, read_image, to_unit
from pt_core.data.packed import PackedImages, in_workers
from pt_core.data.rows import Rows
from pt_core.data.source import Quarantined, RawData
from pt_core.errors import DataError
from pt_core.isolation import report_progress

_PER_TASK = 32
"""Files that a worker decodes before it answers."""

_SPLIT_FOLDERS = {"train", "training", "val", "valid", "validation", "test", "calibration"}


class _File(NamedTuple):
    """One image file."""

    path: Path
    """Where it is."""
    name: str
    """Its path below the folder of the samples."""
    label: str
    """The class folder it is in."""
    split: str
    """The split it was given for; empty where there is none."""


class _Task(NamedTuple):
    """What a worker is asked."""

    paths: tuple[Path, ...]
    decoding: ImageDecoding
    cache: Path | None
    """File of (N, C, H, W) uint8 that the pixels are written into; ``None`` only looks whether they can be."""
    start: int
    """Row of the first of the paths."""
    shape: tuple[int, ...]
    """Shape of the cache."""


def read_image_folder(
    paths: Mapping[SplitName | None, Path], *, config: DataConfig, scratch: Path
) -> RawData:
    """Decode every image once; files that cannot be used are left out and counted.

    The id of an image is the digest of its file, so that neither names nor the file system decide the order, and
    two copies of an image are never in two splits.

    Raises:
        DataError: a folder has no class folders.
    """
    images = config.images or ImagesConfig()
    files = [file for split, path in paths.items() for file in _list(path, split)]
    candidates = [file for file in files if file.path.suffix.lower() in SUFFIXES]
    if not candidates:
        where = ", ".join(str(path) for path in paths.values())
        raise DataError(f"{where}: no image in any class folder, expected files {', '.join(SUFFIXES)}")
    is_cached = len(candidates) * int(np.prod(images.shape)) * 4 <= images.max_cached_gib * 2**30
    reasons, x = _decode_all(candidates, images.decoding(), scratch / "pixels" if is_cached else None)
    quarantined = [
        Quarantined(file=file.name, reason="not an image file by its name")
        for file in files
        if file.path.suffix.lower() not in SUFFIXES
    ]
    quarantined += [
        Quarantined(file=file.name, reason=why) for file, why in zip(candidates, reasons, strict=True) if why
    ]
    kept = np.array([row for row, why in enumerate(reasons) if not why], dtype=np.int64)
    used = [candidates[row] for row in kept]
    labels = _labels(files, config)
    problems = [*_too_many(quarantined, len(files), images), *_unknown(files, labels)]
    digests = list(hash_files(file.path for file in used))
    numbers = {label: number for number, label in enumerate(labels)}
    y = np.array([numbers.get(file.label, 0) for file in used], dtype=np.int64)

    def content(order: NDArray[np.int64]) -> Iterator[bytes]:
        yield repr((images.size, images.mode, images.resize)).encode()
        yield from (bytes.fromhex(digests[row]) for row in order.tolist())

    return RawData(
        x=_Unit(x, kept),
        y=y,
        labels=labels,
        input_range=(0.0, 1.0),
        ids=np.array(digests, dtype=np.str_),
        split=np.array([file.split for file in used], dtype=np.str_) if None not in paths else None,
        problems=tuple(problems),
        content=content,
        decoding=images.decoding(),
        names=[file.name for file in used],
        packed=None if is_cached else lambda row: used[row].path.read_bytes(),
        quarantined=tuple(quarantined),
    )


class _Unit:
    """Kept rows of 8-bit pixels as float32 in [0, 1]."""

    def __init__(self, pixels: Rows, kept: NDArray[np.int64]) -> None:
        self._pixels = pixels
        self._kept = kept
        self.shape = (len(kept), *pixels.shape[1:])
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, rows: Any, /) -> NDArray[np.float32]:
        found: NDArray[Any] = self._pixels[self._kept[rows]]
        return to_unit(found) if found.dtype == np.uint8 else found


def _list(folder: Path, split: SplitName | None) -> list[_File]:
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = {path.name for path in classes}
    if names and names <= _SPLIT_FOLDERS and "train" in names:
        given = ", ".join(f"{name}: {folder.name}/{name}" for name in sorted(names))
        raise DataError(
            f"{folder}: has a folder for each split, expected one for each class; set data.splits: {{{given}}}"
        )
    if not classes:
        raise DataError(f"{folder}: has no folder in it, expected one for each class")
    return [
        _File(path, path.relative_to(folder.parent).as_posix(), one.name, split or "")
        for one in classes
        for path in files_below(one)
    ]


def _labels(files: list[_File], config: DataConfig) -> tuple[str, ...]:
    return config.labels or tuple(sorted({file.label for file in files}))


def _unknown(files: list[_File], labels: tuple[str, ...]) -> Iterator[str]:
    unknown = sorted({file.label for file in files} - set(labels))
    if unknown:
        yield f"class folder(s) {join(unknown)} not in data.labels, expected {join(labels)}; add or remove them"


def _too_many(quarantined: list[Quarantined], num_files: int, images: ImagesConfig) -> Iterator[str]:
    if len(quarantined) <= images.max_bad_fraction * num_files:
        return
    yield (
        f"{len(quarantined)} of {num_files} files cannot be used ({len(quarantined) / num_files:.1%}), expected at most "
        f"{images.max_bad_fraction:.1%}; repair or remove them, or raise data.images.max_bad_fraction"
    )
    yield from (f"{one.file}: {one.reason}" for one in quarantined)


def _decode_all(
    files: list[_File], decoding: ImageDecoding, cache: Path | None
) -> tuple[list[str | None], Rows]:
    """Return why each file cannot be used, or ``None``, and the pixels."""
    shape = (len(files), *decoding.shape)
    if cache is not None:
        np.memmap(cache, mode="w+", dtype=np.uint8, shape=shape).flush()
    tasks = [
        _Task(tuple(file.path for file in files[start : start + _PER_TASK]), decoding, cache, start, shape)
        for start in range(0, len(files), _PER_TASK)
    ]
    reasons: list[str | None] = []
    for found in in_workers(decode_files, tasks):
        reasons += found
        bad = sum(1 for reason in reasons if reason)
        report_progress(len(reasons), len(files), f"decoding images, {bad} bad")
    if cache is not None:
        return reasons, np.memmap(cache, mode="r", dtype=np.uint8, shape=shape)
    return reasons, _Files([file.path for file in files], decoding)


def decode_files(task: _Task) -> list[str | None]:
    """Decode files, in a worker process; return why each cannot be used, or ``None``."""
    pixels = None
    if task.cache is not None:
        pixels = np.memmap(task.cache, mode="r+", dtype=np.uint8, shape=task.shape)
    reasons: list[str | None] = []
    for row, path in enumerate(task.paths, start=task.start):
        try:
            found = read_image(path, task.decoding)
        except DataError as error:
            reasons.append(error.message)
            continue
        if pixels is not None:
            pixels[row] = found
        reasons.append(None)
    return reasons


class _Files:
    """Image files, decoded as they are read."""

    def __init__(self, paths: list[Path], decoding: ImageDecoding) -> None:
        self._paths = paths
        self._decoding = decoding
        self.shape = (len(paths), *decoding.shape)
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.float32]:
        contents = [self._paths[row].read_bytes() for row in rows.tolist()]
        ends = np.cumsum([0, *map(len, contents)])
        blob = np.frombuffer(b"".join(contents), dtype=np.uint8)
        return PackedImages(blob, ends, self._decoding)[:]
