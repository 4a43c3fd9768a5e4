"""Source "arrays": .npz files with the arrays x and y, and maybe labels, ids and split, mapped and never unpickled."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pt_core.data.config import SplitName
from pt_core.data.rows import Growing, chunks
from pt_core.data.source import RawData
from pt_core.errors import DataError

REQUIRED = ("x", "y")
OPTIONAL = ("labels", "ids", "split")

Arrays = dict[str, NDArray[Any]]


def read_arrays(
    paths: Mapping[SplitName | None, Path], *, scratch: Path, input_range: tuple[float, float] | None
) -> RawData:
    """Read .npz files without unpickling anything, whatever their size.

    Args:
        paths: each file by the split it is given for; ``None`` is the whole. ``x``, ``y``, the optional unicode array
            ``labels``, and the optional ``ids`` and ``split`` of each row are read.
        scratch: an empty folder; ``x`` is unpacked into it, since nothing inside an archive can be mapped.
        input_range: least and greatest legal value of ``x``; ``None`` for a table.

    Raises:
        DataError: a file is absent, not an .npz file, or holds other arrays.
    """
    read = {split: _read(path, scratch / f"{number}") for number, (split, path) in enumerate(paths.items())}
    _refuse_misfits(read, paths)
    first = next(iter(read.values()))
    labels = first.get("labels")
    joined = {name: _column(read, name) for name in ("y", "ids", "split")}
    return RawData(
        x=first["x"] if len(read) == 1 else _stack(read, scratch / "x"),
        y=first["y"] if len(read) == 1 else joined["y"],
        labels=None if labels is None else tuple(str(name) for name in labels),
        input_range=input_range,
        ids=joined["ids"] if "ids" in first else None,
        split=_split(read, joined["split"] if "split" in first else None),
    )


def _split(read: Mapping[SplitName | None, Arrays], column: NDArray[Any] | None) -> NDArray[np.str_] | None:
    if None in read:
        return None if column is None else column.astype(np.str_)
    return np.repeat([str(name) for name in read], [len(arrays["x"]) for arrays in read.values()])


def _column(read: Mapping[SplitName | None, Arrays], name: str) -> NDArray[Any]:
    found = [np.atleast_1d(arrays[name]) for arrays in read.values() if name in arrays]
    return np.concatenate(found) if found else np.empty(0)


def _stack(read: Mapping[SplitName | None, Arrays], path: Path) -> NDArray[Any]:
    rows = Growing(path)
    for arrays in read.values():
        for _, piece in chunks(arrays["x"]):
            rows.append(piece)
    return rows.finish()


def _refuse_misfits(read: Mapping[SplitName | None, Arrays], paths: Mapping[SplitName | None, Path]) -> None:
    """Refuse files that are no parts of one set of samples."""
    (first_name, first), *others = read.items()
    for name, arrays in others:
        pairs = {
            "arrays": (tuple(sorted(arrays)), tuple(sorted(first))),
            "shape of one sample of x": (arrays["x"].shape[1:], first["x"].shape[1:]),
            "dtype of x": (str(arrays["x"].dtype), str(first["x"].dtype)),
            "labels": tuple(np.asarray(one.get("labels", ())).tolist() for one in (arrays, first)),
        }
        for what, (found, expected) in pairs.items():
            if found != expected:
                raise DataError(
                    f"{paths[name]}: {what} {found}, expected {expected} as in {paths[first_name]}; "
                    "the splits must be parts of one data set"
                )


def _read(path: Path, folder: Path) -> Arrays:
    folder.mkdir()
    try:
        if not zipfile.is_zipfile(path):
            if path.is_dir():
                raise DataError(f"data.path: {path} is a folder, expected an .npz file")
            if not path.exists():
                raise DataError(f"data.path: {path} does not exist")
            raise DataError(f"{path}: not an .npz file; write it with np.savez(path, x=x, y=y)")
        with zipfile.ZipFile(path) as archive:
            names = _check_names(archive, path)
            arrays = {name: _unpack(archive, name, folder) for name in names}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read as plain numeric arrays ({error}); write it with np.savez(path, x=x, y=y)"
        ) from error
    _check_columns(arrays, path)
    return arrays


def _check_names(archive: zipfile.ZipFile, path: Path) -> list[str]:
    names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
    if not set(REQUIRED) <= set(names) <= set(REQUIRED + OPTIONAL) or len(set(names)) < len(names):
        found = ", ".join(names) or "nothing"
        raise DataError(
            f"{path}: expected the arrays x, y and optionally {', '.join(OPTIONAL)}, found {found}"
        )
    return names


def _unpack(archive: zipfile.ZipFile, name: str, folder: Path) -> NDArray[Any]:
    """Copy one array out of the archive and map it; reading to the end checks its checksum."""
    unpacked = folder / f"{name}.npy"
    with archive.open(f"{name}.npy") as source, unpacked.open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)
    # An array without a value cannot be mapped.
    is_large = name == "x" and unpacked.stat().st_size > 2**20
    array: NDArray[Any] = np.load(unpacked, mmap_mode="r" if is_large else None, allow_pickle=False)
    return array


def _check_columns(arrays: Arrays, path: Path) -> None:
    labels = arrays.get("labels")
    if labels is not None and (labels.dtype.kind != "U" or labels.ndim != 1):
        raise DataError(
            f"{path}: labels has dtype {labels.dtype} and shape {labels.shape}, expected one row of text; "
            "save np.array(names, dtype=str)"
        )
    for name, kinds in (("ids", "iuUS"), ("split", "U")):
        column = arrays.get(name)
        if column is not None and (column.dtype.kind not in kinds or column.shape != arrays["x"].shape[:1]):
            raise DataError(
                f"{path}: {name} has dtype {column.dtype} and shape {column.shape}, expected "
                f"{'text' if kinds == 'U' else 'whole numbers or text'}, one for each of the rows of x"
            )
