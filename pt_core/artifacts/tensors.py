"""Tensors in safetensors files, as numpy arrays: written contiguous, read only where every header field makes sense."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pt_core.artifacts.artifact import GOLDEN
from pt_core.bundle import Bundle
from pt_core.errors import IntegrityError

Arrays = dict[str, NDArray[Any]]

# What the reader raises on a bad header: its own error, and numpy's on a dtype or a shape that it does not know.
_READ_ERRORS = (SafetensorError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
_PLAIN_KINDS = "biufc"


def save_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays; they are copied to C order first, because the format has no strides.

    Raises:
        OSError: the disk refused a write.
    """
    # np.ascontiguousarray would make a vector of a scalar.
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    try:
        save_file(arrays, path)
    except SafetensorError as error:
        raise OSError(f"{path}: could not be written: {error}") from error


def load_tensors(path: Path, *, finite: bool = False) -> Arrays:
    """Read named arrays.

    Args:
        path: the file.
        finite: also refuse NaN and infinite values.

    Raises:
        IntegrityError: the file is missing, its header is malformed, a shape or type does not fit its bytes, or,
            on request, a value is not finite; the message names the file and the tensor.
    """
    if not path.is_file():
        raise IntegrityError(f"{path}: missing")
    try:
        arrays: Arrays = load_file(path)
    except _READ_ERRORS as error:
        raise IntegrityError(f"{path}: not a readable safetensors file: {error}"[:1000]) from error
    for name, array in arrays.items():
        # bfloat16 and float8 are read only where another library has taught them to NumPy, and no check of
        # finiteness works on them: refused everywhere alike.
        if array.dtype.kind not in _PLAIN_KINDS:
            raise IntegrityError(f"{path}: not a readable safetensors file: {name} is {array.dtype}")
    if finite:
        check_finite(path, arrays)
    return arrays


def write_golden(folder: Path, inputs: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
    """Write inputs (N, *input_shape) and the logits (N, num_classes) they must give, to be replayed later."""
    save_tensors(folder / GOLDEN, {"inputs": inputs, "logits": logits})


def read_golden(bundle: Bundle) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the golden inputs (N, *input_shape) float32 and logits (N, num_classes) float32 of a bundle.

    Raises:
        IntegrityError: they are missing, not finite, or of another type or shape.
    """
    path = Path(bundle.directory) / GOLDEN
    arrays = load_tensors(path, finite=True)
    if set(arrays) != {"inputs", "logits"}:
        raise IntegrityError(f"{path}: holds {sorted(arrays)}, expected ['inputs', 'logits']")
    inputs, logits = arrays["inputs"], arrays["logits"]
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise IntegrityError(f"{path}: {name} is {array.dtype}, expected float32")
    if logits.ndim != 2 or inputs.ndim < 2 or not 0 < len(inputs) == len(logits):
        raise IntegrityError(
            f"{path}: inputs {inputs.shape} and logits {logits.shape}, "
            "expected (N, *input_shape) and (N, num_classes) with the same N above 0"
        )
    return inputs, logits


def check_finite(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse NaN and infinite values.

    Raises:
        IntegrityError: the details name each tensor.
    """
    bad = {name: num for name, array in arrays.items() if (num := _num_not_finite(array))}
    if bad:
        raise IntegrityError(
            f"{path}: {len(bad)} of {len(arrays)} tensors hold NaN or infinite values",
            details=[
                f"{name}: {num} of {arrays[name].size} values are not finite" for name, num in bad.items()
            ],
        )


def _num_not_finite(array: NDArray[Any]) -> int:
    if array.dtype.kind not in "fc":
        return 0
    return int(array.size - np.count_nonzero(np.isfinite(array)))
