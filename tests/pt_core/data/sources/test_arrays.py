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
