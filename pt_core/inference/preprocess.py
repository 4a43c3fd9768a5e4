"""From a file, or an array, to the raw input every predictor takes: (N, *input_shape) float32."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pt_core.data.cells import to_number
from pt_core.data.encoding import ImageDecoding
from pt_core.data.images import SUFFIXES, read_image, to_unit
from pt_core.data.tables import SUFFIXES as TABLE_SUFFIXES
from pt_core.errors import DataError
from pt_core.inference.raw_rows import read_rows
from pt_core.modeling.spec import ModelSpec

IMAGE_SUFFIXES = SUFFIXES
READABLE = (".npy", ".npz", ".csv", ".parquet", *IMAGE_SUFFIXES)


def check_batch(batch: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """Return the batch, contiguous, after checking that it is (N, *sample shape) float32 with N above 0.

    Each axis of a sample has the size in the spec, or one in the range of a declared dynamic axis.

    Raises:
        DataError: with the observed and the expected shape or dtype.
    """
    if batch.dtype != np.float32:
        raise DataError(f"inputs: dtype {batch.dtype}, expected float32")
    if batch.ndim == 0 or batch.shape[0] == 0 or not spec.accepts(batch.shape[1:]):
        raise DataError(f"inputs: shape {batch.shape}, expected (N, {spec.describe_input()}) with N above 0")
    return np.ascontiguousarray(batch)


def read_inputs(path: Path, spec: ModelSpec) -> NDArray[np.float32]:
    """Return the samples of one file, (N, *input_shape) float32 in input units.

    Raises:
        DataError: the file is missing, of another kind, or its values do not fit the network.
    """
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise DataError(
            f"{path}: cannot read {suffix or 'a file with no suffix'}, expected {', '.join(READABLE)}"
        )
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if suffix in IMAGE_SUFFIXES:
        return _read_image(path, spec)
    if suffix in TABLE_SUFFIXES and spec.table is not None:
        return read_rows(path, spec.table)
    if suffix == ".parquet":
        raise DataError(f"{path}: a table of named columns, but the network was not trained on one")
    values = _read_csv(path) if suffix == ".csv" else _read_array(path)
    return _check_values(check_array(values, spec, path).astype(np.float32), spec, path)


def _read_array(path: Path) -> NDArray[np.generic]:
    try:
        # Opened here, because NumPy leaves the file of a broken archive open.
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            return np.asarray(loaded if path.suffix.lower() == ".npy" else loaded["x"])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a plain NumPy file: {error}") from error
    except (KeyError, IndexError) as error:
        held = ", ".join(getattr(loaded, "files", ())) or "no named array"
        raise DataError(f"{path}: holds {held}, expected an array named x") from error


def _read_csv(path: Path) -> NDArray[np.float64]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a text file of comma-separated values: {error}") from error
    start = 1 if rows and not is_numeric(rows[0]) else 0
    for number, row in enumerate(rows[start:], start=start + 1):
        if not is_numeric(row) or len(row) != len(rows[start]):
            raise DataError(
                f"{path}: row {number} is {','.join(row)[:60]!r}, expected {len(rows[start])} numeric columns"
            )
    return np.array([[float(cell) for cell in row] for row in rows[start:]], dtype=np.float64)


def is_numeric(row: list[str]) -> bool:
    """Return whether every cell is a number, which a header is not."""
    try:
        [to_number(cell) for cell in row]
    except ValueError:
        return False
    return True


def _decode_image(path: Path, decoding: ImageDecoding) -> NDArray[np.float32]:
    """Return one image as the training images were decoded."""
    try:
        return to_unit(read_image(path, decoding))[None]
    except DataError as error:
        raise DataError(f"{path}: not a readable image: {error.message}") from error


def _read_image(path: Path, spec: ModelSpec) -> NDArray[np.float32]:
    if len(spec.input_shape) != 3 or spec.input_shape[0] not in (1, 3):
        raise DataError(
            f"{path}: an image, but the network takes ({spec.describe_input()}); give it .npy, .npz or .csv"
        )
    channels, height, width = spec.input_shape
    if spec.images is not None:
        return _decode_image(path, spec.images)
    try:
        with Image.open(path) as image:
            converted = image.convert("L" if channels == 1 else "RGB")
            pixels = np.asarray(converted.resize((width, height)), dtype=np.float32) / 255
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image: {error}") from error
    least, greatest = spec.input_range or (0.0, 1.0)
    scaled = least + pixels.reshape(height, width, channels) * (greatest - least)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)


def check_array(values: NDArray[np.generic], spec: ModelSpec, path: Path) -> NDArray[np.generic]:
    """Return the values of a file as (N, *input_shape), not yet looked at one by one.

    Raises:
        DataError: with the observed and the expected dtype or shape.
    """
    if values.dtype.kind not in ("fiu" if _takes_integers(spec) else "f"):
        raise DataError(
            f"{path}: dtype {values.dtype}, expected float32 in the units of the training data"
            + (f", {spec.input_range[0]:g} to {spec.input_range[1]:g}" if spec.input_range else "")
        )
    shape = values.shape
    if spec.accepts(shape):
        values = values[None]
    elif path.suffix.lower() == ".csv" and values.ndim == 2 and shape[1] == np.prod(spec.input_shape):
        values = values.reshape(-1, *spec.input_shape)
    if values.ndim == 0 or values.shape[0] == 0 or not spec.accepts(values.shape[1:]):
        raise DataError(f"{path}: shape {shape}, expected (N, {spec.describe_input()}) with N above 0")
    return values


def _takes_integers(spec: ModelSpec) -> bool:
    """Return whether whole numbers can be in the units of the training data: in 0 to 1 they are pixels unscaled."""
    return spec.input_range is None or spec.input_range[1] - spec.input_range[0] > 1


def _check_values(samples: NDArray[np.float32], spec: ModelSpec, path: Path) -> NDArray[np.float32]:
    if not np.isfinite(samples).all():
        raise DataError(f"{path}: holds values that are not finite as float32, expected numbers only")
    if spec.input_range is not None:
        least, greatest = spec.input_range
        if samples.min() < least or samples.max() > greatest:
            raise DataError(
                f"{path}: values from {samples.min():g} to {samples.max():g}, expected {least:g} to {greatest:g}"
            )
    return np.ascontiguousarray(samples)
