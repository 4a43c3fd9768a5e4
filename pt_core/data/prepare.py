"""Load samples, check them, split them, and seal the splits as an immutable dataset."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pt_core.bundle import seal, staging
from pt_core.data.arrays import read_arrays
from pt_core.data.checks import CheckedData, check
from pt_core.data.config import SPLITS, SplitName
from pt_core.data.dataset import Dataset, DatasetInfo, Split
from pt_core.data.digits import read_digits
from pt_core.data.requests import PrepareRequest
from pt_core.data.source import RawData
from pt_core.data.splits import split_ids


def prepare(request: PrepareRequest) -> Dataset:
    """Return a checked dataset, split by id and written as one bundle of .npy files.

    Raises:
        DataError: the samples cannot be used; the details list every problem.
        IntegrityError: the data file is not the one whose digest was asked for.
    """
    data = check(_read(request))
    ids = split_ids(data.y, config=request.config, seed=request.seed)
    mean, std = _statistics(data.x[ids["train"]])
    info = DatasetInfo(
        source=request.config.source,
        fingerprint=_fingerprint(data),
        labels=data.labels,
        input_shape=data.x.shape[1:],
        input_range=data.input_range,
        mean=mean,
        std=std,
        splits=tuple(
            Split(name=name, num_samples=len(ids[name]), ids_sha256=_digest(ids[name])) for name in SPLITS
        ),
    )
    with staging(Path(request.store)) as folder:
        for name in SPLITS:
            _write_split(folder, name, data=data, ids=ids[name])
        bundle = seal(folder, name="dataset", kind="dataset", info=info)
    return Dataset.model_validate({**info.model_dump(), **bundle.model_dump()})


def _read(request: PrepareRequest) -> RawData:
    config = request.config
    if config.path is None:
        raw = read_digits()
    else:
        path = Path(request.base_dir) / config.path
        raw = read_arrays(path, sha256=request.source_sha256, input_range=config.input_range)
    return raw._replace(labels=config.labels or raw.labels)


def _statistics(x: NDArray[np.float32]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel of (N, C, H, W), or of each column of (N, F)."""
    axes = (0, *range(2, x.ndim))
    mean = x.mean(axis=axes, dtype=np.float64)
    std = x.std(axis=axes, dtype=np.float64)
    # A constant column has a deviation of rounding errors, which would blow it up to noise.
    constant = (x.max(axis=axes) == x.min(axis=axes)) | (std < np.finfo(np.float32).tiny)
    return tuple(mean.tolist()), tuple(np.where(constant, 1.0, std).tolist())


def _write_split(folder: Path, name: SplitName, *, data: CheckedData, ids: NDArray[np.int64]) -> None:
    for part, values in (("x", data.x[ids]), ("y", data.y[ids]), ("ids", ids)):
        np.save(folder / f"{name}_{part}.npy", np.ascontiguousarray(values), allow_pickle=False)


def _fingerprint(data: CheckedData) -> str:
    digest = hashlib.sha256(repr(data.x.shape).encode())
    for values in (data.x, data.y, np.arange(len(data.y), dtype=np.int64)):
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _digest(ids: NDArray[np.int64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(ids, dtype="<i8").data).hexdigest()
