"""Source "arrays": an .npz file with the arrays x and y, and maybe the names of the classes."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pt_core.data.source import RawData
from pt_core.errors import DataError, IntegrityError

REQUIRED = ("x", "y")
OPTIONAL = ("labels",)


def read_arrays(path: Path, *, sha256: str | None, input_range: tuple[float, float] | None) -> RawData:
    """Read an .npz file without unpickling anything.

    Args:
        path: the file; ``x``, ``y`` and the optional unicode array ``labels`` are read.
        sha256: the digest the file's bytes must have; ``None`` accepts any.
        input_range: least and greatest legal value of ``x``; ``None`` for a table.

    Raises:
        DataError: the file is absent, not an .npz file, or holds other arrays.
        IntegrityError: its bytes do not have the digest.
    """
    arrays = _read(path, sha256)
    missing = [name for name in REQUIRED if name not in arrays]
    unknown = [name for name in arrays if name not in REQUIRED + OPTIONAL]
    if missing or unknown:
        found = ", ".join(arrays) or "nothing"
        raise DataError(f"{path}: expected the arrays x, y and optionally labels, found {found}")
    labels = arrays.get("labels")
    if labels is not None and (labels.dtype.kind != "U" or labels.ndim != 1):
        raise DataError(
            f"{path}: labels has dtype {labels.dtype} and shape {labels.shape}, expected one row of text; "
            "save np.array(names, dtype=str)"
        )
    names = None if labels is None else tuple(str(name) for name in labels)
    return RawData(x=arrays["x"], y=arrays["y"], labels=names, input_range=input_range)


def _read(path: Path, sha256: str | None) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            if sha256 is not None and found != sha256:
                raise IntegrityError(
                    f"{path}: SHA-256 {found[:12]}..., expected {sha256[:12]}...; the file changed, start the run again"
                )
            stream.seek(0)
            if not zipfile.is_zipfile(stream):
                raise DataError(f"{path}: not an .npz file; write it with np.savez(path, x=x, y=y)")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise DataError(f"data.path: {path} does not exist") from error
    except IsADirectoryError as error:
        raise DataError(f"data.path: {path} is a folder, expected an .npz file") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read as plain numeric arrays ({error}); write it with np.savez(path, x=x, y=y)"
        ) from error
