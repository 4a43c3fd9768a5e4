"""The checks of a training state file before and after it is parsed: a plain zip, dense tensors, nothing compressed."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from pt_core.errors import IntegrityError

MAX_TRAINING_STATE_BYTES = 64 * 2**30
"""Bound on the unpacked size of a training state."""

_ZIP_MAGIC = b"PK\x03\x04"


def check_archive(path: Path, *, max_bytes: int = MAX_TRAINING_STATE_BYTES) -> None:
    """Refuse a file that is not the plain, uncompressed zip that ``torch.save`` writes.

    A compressed entry lets 500 kB on disk allocate 500 MB in memory; overlapping entries do the same.

    Raises:
        IntegrityError: naming the file and the entry.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(_ZIP_MAGIC))
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise IntegrityError(f"{path}: not a zip file: {error}") from error
    if magic != _ZIP_MAGIC:
        raise IntegrityError(f"{path}: begins with {magic!r}, expected a zip file")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise IntegrityError(
                f"{path}: entry {entry.filename!r} is compressed, {entry.compress_size} to {entry.file_size} bytes; "
                "only plain entries are read"
            )
    if len({entry.filename for entry in entries}) != len(entries):
        raise IntegrityError(f"{path}: holds two entries of one name")
    total = sum(entry.file_size for entry in entries)
    limit = min(max_bytes, path.stat().st_size)
    if total > limit:
        raise IntegrityError(f"{path}: its entries unpack to {total} bytes, at most {limit} are allowed")


def check_tensors(path: Path, state: object) -> None:
    """Refuse tensors that claim more elements than the file stores for them, or that are not dense.

    Raises:
        IntegrityError: naming the file and the place.
    """
    for where, tensor in _tensors(state):
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise IntegrityError(
                f"{path}: {where} is a {tensor.layout} tensor on {tensor.device}, expected a dense one"
            )
        stored = tensor.untyped_storage().nbytes()
        claimed = tensor.numel() * tensor.element_size()
        if claimed > stored:
            raise IntegrityError(
                f"{path}: {where} claims shape {tuple(tensor.shape)}, {claimed} bytes, but {stored} are stored"
            )


def _tensors(state: object) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor of nested dicts, lists and tuples with its path; each container is entered once."""
    seen: set[int] = set()
    todo: list[tuple[str, object]] = [("state", state)]
    while todo:
        where, value = todo.pop()
        if isinstance(value, Tensor):
            yield where, value
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            todo.extend((f"{where}[{key!r:.100}]", item) for key, item in items)
