"""A data set that does not fit into the memory allowed is prepared, and read for training, all the same."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from reading import Read, ReadRequest

from pt_core.child import CODE_PATH_VARIABLE
from pt_core.data.config import DataConfig
from pt_core.data.dataset import Dataset, DatasetInfo, Split
from pt_core.data.files import source_digest
from pt_core.data.requests import PrepareRequest
from pt_core.isolation import run_isolated

MIB = 2**20
SHAPE = (1, 64, 64)
BYTES_PER_SAMPLE = 64 * 64 * 4


def write_npz(path: Path, num_samples: int) -> None:
    """Write x, all zeros but for the first pixel of each sample, without holding it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "<f4", "fortran_order": False, "shape": (num_samples, *SHAPE)}
            )
            for start in range(0, num_samples, 1000):
                piece = np.zeros((min(1000, num_samples - start), *SHAPE), np.float32)
                piece[:, 0, 0, 0] = (start + np.arange(len(piece))) % 2
                stream.write(piece.tobytes())
        with archive.open("y.npy", "w") as stream:
            np.lib.format.write_array(stream, np.arange(num_samples) % 2)


def test_arrays_of_twice_the_memory_allowed_are_prepared(tmp_path):
    num_samples = 280 * MIB // BYTES_PER_SAMPLE
    write_npz(tmp_path / "large.npz", num_samples)
    config = DataConfig(source="arrays", path="large.npz", input_range=(0.0, 1.0))
    request = PrepareRequest(
        config=config,
        seed=0,
        base_dir=str(tmp_path),
        source_sha256=source_digest(config, tmp_path),
        store=str(tmp_path / "store"),
    )
    dataset = run_isolated(
        "pt_core.data.prepare:prepare",
        request,
        reply=Dataset,
        timeout_s=120,
        max_memory_bytes=140 * MIB,
        num_threads=1,
    )
    assert sum(split.num_samples for split in dataset.splits) == num_samples
    # Half of the samples have one pixel of 1 among 4096.
    assert dataset.mean[0] == pytest.approx(0.5 / 4096, rel=0.01)
    assert list((tmp_path / "store").glob(".staging*")) == []


def test_a_training_split_above_the_memory_allowed_is_read_batch_by_batch(tmp_path, monkeypatch):
    num_samples = 640 * MIB // BYTES_PER_SAMPLE
    # Nothing was ever written into most of the file, so that it takes no room on the disk.
    x = np.lib.format.open_memmap(
        tmp_path / "train_x.npy", mode="w+", dtype=np.float32, shape=(num_samples, *SHAPE)
    )
    x[::1000, 0, 0, 0] = 1
    x.flush()
    np.save(tmp_path / "train_y.npy", np.arange(num_samples) % 2)
    np.save(tmp_path / "train_ids.npy", np.arange(num_samples))
    info = DatasetInfo(
        source="arrays",
        fingerprint="",
        labels=("a", "b"),
        input_shape=SHAPE,
        input_range=None,
        mean=(0.0,),
        std=(1.0,),
        splits=(Split(name="train", num_samples=num_samples, ids_sha256=""),),
    )
    dataset = Dataset(**info.model_dump(), directory=str(tmp_path), digest="", size_bytes=0)
    monkeypatch.setenv(CODE_PATH_VARIABLE, str(Path(__file__).parents[2] / "support"))
    found = run_isolated(
        "reading:read_all",
        ReadRequest(dataset=dataset),
        reply=Read,
        timeout_s=120,
        max_memory_bytes=500 * MIB,
        num_threads=1,
    )
    assert found == Read(num_samples=num_samples, total=len(range(0, num_samples, 1000)))
