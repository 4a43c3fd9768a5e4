"""Reading .npz files: what is accepted, and the sentence for everything else."""

from __future__ import annotations

import numpy as np
import pytest

from pt_core.data.sources.arrays import read_arrays
from pt_core.errors import DataError


def read(path, **paths):
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return read_arrays(paths or {None: path}, scratch=scratch, input_range=None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "samples.npz"


def test_arrays_come_back_as_they_were_saved(path):
    x, y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 2, 0, 1, 2])
    np.savez(path, x=x, y=y, labels=np.array(["cat", "dog", "ibis"]))
    raw = read(path)
    np.testing.assert_array_equal(raw.x, x)
    np.testing.assert_array_equal(raw.y, y)
    assert raw.labels == ("cat", "dog", "ibis")


def test_names_are_optional(path):
    np.savez_compressed(path, x=np.zeros((2, 2)), y=np.zeros(2))
    assert read(path).labels is None


def test_a_missing_file_is_named(path):
    with pytest.raises(DataError, match=r"samples\.npz does not exist"):
        read(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", b"\x93NUMPY\x01\x00"])
def test_another_kind_of_file_is_refused_with_how_to_write_one(path, content):
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"np\.savez"):
        read(path)


def test_a_damaged_file_is_refused(path):
    np.savez(path, x=np.random.default_rng(0).random((100, 10)), y=np.zeros(100))
    content = bytearray(path.read_bytes())
    content[500] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


def test_pickled_objects_are_never_loaded(path):
    np.savez(path, x=np.array([{"a": 1}, None], dtype=object), y=np.zeros(2))
    with pytest.raises(DataError, match="cannot be read as plain numeric arrays"):
        read(path)


@pytest.mark.parametrize("names", [{"x": 1, "Y": 2}, {"x": 1}, {"x": 1, "y": 2, "label": 3}])
def test_other_arrays_are_refused_by_name(path, names):
    np.savez(path, **{name: np.zeros(value) for name, value in names.items()})
    with pytest.raises(DataError, match=f"found {', '.join(names)}"):
        read(path)


def test_numbers_as_names_are_refused(path):
    np.savez(path, x=np.zeros((2, 2)), y=np.zeros(2), labels=np.array([1, 2]))
    with pytest.raises(DataError, match="labels has dtype int64"):
        read(path)


def write(path, rows, **arrays):
    x = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    np.savez(path, x=x, y=np.arange(rows) % 2, **arrays)
    return x


def test_large_arrays_are_mapped_and_not_read(path):
    x = np.random.default_rng(0).random((200, 1000))
    np.savez_compressed(path, x=np.asfortranarray(x), y=np.zeros(200))
    raw = read(path)
    assert isinstance(raw.x, np.memmap)
    np.testing.assert_array_equal(raw.x, x)


def test_ids_and_splits_of_each_row_are_read(path):
    split = np.array(["train", "test"] * 3)
    write(path, 6, ids=np.array([3, 3, 1, 1, 2, 2]), split=split)
    raw = read(path)
    assert (raw.ids.tolist(), raw.split.tolist()) == ([3, 3, 1, 1, 2, 2], split.tolist())


def test_a_file_for_each_split_is_joined(tmp_path):
    one, two = write(tmp_path / "a.npz", 4), write(tmp_path / "b.npz", 3)
    raw = read(tmp_path / "x", train=tmp_path / "a.npz", test=tmp_path / "b.npz")
    np.testing.assert_array_equal(raw.x, np.concatenate([one, two]))
    assert raw.y.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert raw.split.tolist() == ["train"] * 4 + ["test"] * 3


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (
            {"x": np.zeros((3, 5), np.float32), "y": np.zeros(3)},
            r"shape of one sample of x \(5,\), expected \(2,\)",
        ),
        ({"x": np.zeros((3, 2)), "y": np.zeros(3)}, "dtype of x float64, expected float32"),
        ({"x": np.zeros((3, 2), np.float32), "y": np.zeros(3), "labels": np.array(["a"])}, "arrays"),
    ],
)
def test_files_that_are_no_parts_of_one_data_set_are_refused(tmp_path, other, expected):
    write(tmp_path / "a.npz", 4)
    np.savez(tmp_path / "b.npz", **other)
    with pytest.raises(DataError, match=expected):
        read(tmp_path / "x", train=tmp_path / "a.npz", test=tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"ids": np.arange(5)}, r"ids has dtype int64 and shape \(5,\)"),
        ({"ids": np.zeros(6)}, "ids has dtype float64"),
        ({"split": np.zeros(6, int)}, "split has dtype int64.*expected text"),
    ],
)
def test_ids_and_splits_of_another_form_are_refused(path, arrays, expected):
    write(path, 6, **arrays)
    with pytest.raises(DataError, match=expected):
        read(path)
