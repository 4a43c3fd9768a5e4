from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from pt_core.artifacts.artifact import GOLDEN
from pt_core.artifacts.tensors import load_tensors, read_golden, save_tensors, write_golden
from pt_core.bundle import Bundle
from pt_core.errors import IntegrityError


def write_raw(path: Path, header: bytes, data: bytes = b"", *, claimed: int | None = None) -> Path:
    """Write a safetensors file byte by byte, after its published layout."""
    path.write_bytes(struct.pack("<Q", len(header) if claimed is None else claimed) + header + data)
    return path


def header(shape: list[int], offsets: tuple[int, int] = (0, 4), dtype: str = "F32") -> bytes:
    return json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


def bundle_of(folder: Path) -> Bundle:
    return Bundle(directory=str(folder), digest="0" * 64, size_bytes=0)


def test_arrays_of_any_layout_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "sliced": np.arange(10)[::3],
        "scalar": np.asarray(7),
        "empty": np.zeros((0, 3), np.float32),
        "truth": np.asarray([True, False]),
    }
    save_tensors(tmp_path / "t", tensors)
    again = load_tensors(tmp_path / "t")
    assert set(again) == set(tensors)
    for name, array in tensors.items():
        assert again[name].dtype == array.dtype
        assert again[name].shape == array.shape
        np.testing.assert_array_equal(again[name], array)


def test_a_file_written_by_hand_after_the_published_layout_is_read(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "t", header([2], (0, 8)), struct.pack("<2f", 1.5, -2.0))
    assert load_tensors(path)["a"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("content", "data"),
    [
        (b"{{", b""),
        (b"[" * 100_000, b""),
        (header([2**40]), b"1234"),
        (header([2**63, 4]), b"1234"),
        (header([0, 2**62, 2**62], (0, 0)), b""),
        (header([1] * 100), b"1234"),
        (header([-1]), b"1234"),
        (header([1], (2, 6)), b"123456"),
        (header([2], (0, 8)), b"1234"),
        (header([1]), b"12345678"),
        (header([2], dtype="BF16"), b"1234"),
        (header([4], dtype="F8_E4M3"), b"1234"),
        (header([1], dtype="X9"), b"1234"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_with_the_file_name(
    tmp_path: Path, content: bytes, data: bytes
) -> None:
    path = write_raw(tmp_path / "odd.safetensors", content, data)
    with pytest.raises(IntegrityError, match=r"odd\.safetensors: not a readable"):
        load_tensors(path)


@pytest.mark.parametrize("claimed", [2**60, 2**64 - 1, 10**6])
def test_a_header_longer_than_the_file_is_refused(tmp_path: Path, claimed: int) -> None:
    path = write_raw(tmp_path / "t", header([1]), b"1234", claimed=claimed)
    with pytest.raises(IntegrityError, match="not a readable"):
        load_tensors(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "t", {"a": np.ones(3, np.float32)})
    whole = (tmp_path / "t").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "t").write_bytes(whole[:length])
        with pytest.raises(IntegrityError):
            load_tensors(tmp_path / "t")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="nothing: missing"):
        load_tensors(tmp_path / "nothing")


def test_values_that_are_not_finite_are_counted_by_tensor_on_request(tmp_path: Path) -> None:
    bad = np.array([1, np.nan, np.inf, -np.inf], np.float32)
    save_tensors(tmp_path / "t", {"good": np.ones(2), "bad": bad, "counts": np.array([1])})
    assert len(load_tensors(tmp_path / "t")) == 3
    with pytest.raises(IntegrityError, match="1 of 3 tensors") as caught:
        load_tensors(tmp_path / "t", finite=True)
    assert caught.value.details == ("bad: 3 of 4 values are not finite",)


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="could not be written"):
        save_tensors(tmp_path / "no" / "t", {"a": np.ones(1)})


def test_golden_outputs_come_back_as_they_were(tmp_path: Path) -> None:
    inputs, logits = (
        np.random.default_rng(0).random((2, 5, 1, 4, 4), np.float32)[0],
        np.eye(5, 3, dtype=np.float32),
    )
    write_golden(tmp_path, inputs, logits)
    again = read_golden(bundle_of(tmp_path))
    np.testing.assert_array_equal(again[0], inputs)
    np.testing.assert_array_equal(again[1], logits)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"inputs": np.ones((2, 3), np.float32)}, "expected .'inputs', 'logits'"),
        ({"inputs": np.ones((2, 3)), "logits": np.ones((2, 3), np.float32)}, "inputs is float64"),
        ({"inputs": np.ones((2, 3), np.float32), "logits": np.ones((2, 3), int)}, "logits is int64"),
        ({"inputs": np.ones((2, 3), np.float32), "logits": np.ones((1, 3), np.float32)}, "the same N"),
        ({"inputs": np.ones((0, 3), np.float32), "logits": np.ones((0, 3), np.float32)}, "the same N"),
        ({"inputs": np.ones(2, np.float32), "logits": np.ones((2, 3), np.float32)}, "the same N"),
        (
            {"inputs": np.ones((2, 3), np.float32), "logits": np.full((2, 3), np.nan, np.float32)},
            "NaN or inf",
        ),
    ],
)
def test_golden_outputs_of_another_make_are_refused(tmp_path: Path, tensors, message: str) -> None:
    save_tensors(tmp_path / GOLDEN, tensors)
    with pytest.raises(IntegrityError, match=message):
        read_golden(bundle_of(tmp_path))
