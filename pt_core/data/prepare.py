"""Load samples, check them, split them, and seal the splits as an immutable dataset."""

from __future__ import annotations

from pathlib import Path

from pt_core.bundle import seal, staging
from pt_core.data.assemble import Assembled, assemble
from pt_core.data.config import SPLITS, SplitName
from pt_core.data.dataset import Dataset, DatasetInfo, Split
from pt_core.data.files import source_digest
from pt_core.data.requests import PrepareRequest
from pt_core.data.source import RawData
from pt_core.data.sources.read import read
from pt_core.data.write import Statistics, fingerprint, ids_digest, is_packed, write_sources, write_split
from pt_core.errors import IntegrityError

_MAX_LISTED = 100
"""Quarantined files in the record; the bundle's list has all."""


def prepare(request: PrepareRequest) -> Dataset:
    """Return a checked dataset, split by id and written as one bundle of .npy files.

    Samples are read, checked, encoded and written piece by piece, so that a set larger than the memory can be prepared.

    Raises:
        DataError: the samples cannot be used; the details list every problem.
        IntegrityError: the data are not those whose digest was asked for.
    """
    _check_digest(request)
    store = Path(request.store)
    # What is unpacked or decoded on the way lies in a staging directory of its own, so that a kill leaves nothing.
    with staging(store) as scratch, staging(store) as folder:
        raw = read(request, scratch)
        data = assemble(raw, config=request.config, seed=request.seed)
        info = _write(request, raw, data, folder)
        bundle = seal(folder, name="dataset", kind="dataset", info=info)
    return Dataset.model_validate({**info.model_dump(), **bundle.model_dump()})


def _check_digest(request: PrepareRequest) -> None:
    if request.source_sha256 is None:
        return
    found = source_digest(request.config, Path(request.base_dir))
    if found != request.source_sha256:
        where = ", ".join(request.config.paths().values()) or "data"
        raise IntegrityError(
            f"{where}: SHA-256 {str(found)[:12]}..., expected {request.source_sha256[:12]}...; "
            "the data changed, start the run again"
        )


def _write(request: PrepareRequest, raw: RawData, data: Assembled, folder: Path) -> DatasetInfo:
    statistics = Statistics()
    for name in SPLITS:
        write_split(folder, name, raw=raw, data=data, config=request.config, statistics=statistics)
    write_sources(folder, raw, data)
    mean, std = statistics.result()
    return DatasetInfo(
        source=request.config.source,
        fingerprint=fingerprint(raw, data),
        labels=data.labels,
        input_shape=data.x.shape[1:],
        input_range=raw.input_range,
        mean=mean,
        std=std,
        splits=tuple(_describe(name, raw, data, request) for name in SPLITS),
        table=data.encoding,
        images=raw.decoding,
        num_quarantined=len(raw.quarantined),
        quarantined=raw.quarantined[:_MAX_LISTED],
    )


def _describe(name: SplitName, raw: RawData, data: Assembled, request: PrepareRequest) -> Split:
    ids = data.splits[name]
    return Split(
        name=name,
        num_samples=len(ids),
        ids_sha256=ids_digest(ids),
        is_packed=is_packed(name, raw=raw, data=data, config=request.config),
    )
