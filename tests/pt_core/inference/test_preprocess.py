"""Files to samples: what each kind becomes, and what is refused with observed and expected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pt_core.errors import DataError
from pt_core.inference.preprocess import read_inputs
from pt_core.modeling.spec import ModelSpec


def spec_of(*shape: int, input_range=(0.0, 1.0)) -> ModelSpec:
    return ModelSpec(
        target="tiny:Baked",
        arguments={},
        input_shape=shape,
        num_classes=10,
        mean=None,
        std=None,
        input_range=input_range,
    )


GREY, COLOUR, TABLE = spec_of(1, 8, 8), spec_of(3, 2, 4), spec_of(3, input_range=None)


def save(path: Path, array) -> Path:
    np.save(path, array)
    return path


def test_arrays_come_back_as_they_are(tmp_path):
    x = np.random.default_rng(0).random((5, 1, 8, 8))
    for file in (save(tmp_path / "x.npy", x), save(tmp_path / "single.npy", x[0])):
        found = read_inputs(file, GREY)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, x[: len(found)].astype(np.float32))
    np.savez(tmp_path / "x.npz", x=x, y=np.zeros(5))
    assert read_inputs(tmp_path / "x.npz", GREY).shape == (5, 1, 8, 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_whole_numbers_are_pixels_where_the_training_data_has_such(tmp_path, dtype):
    pixels = np.arange(128, dtype=dtype).reshape(2, 1, 8, 8) * 2
    found = read_inputs(save(tmp_path / "x.npy", pixels), spec_of(1, 8, 8, input_range=(0.0, 255.0)))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, pixels)
    with pytest.raises(DataError, match="values from 0 to 254, expected 0 to 16"):
        read_inputs(tmp_path / "x.npy", spec_of(1, 8, 8, input_range=(0.0, 16.0)))


@pytest.mark.parametrize("header", ["", "height,width,depth\n"])
def test_a_table_is_read_with_and_without_a_header(tmp_path, header):
    file = tmp_path / "t.csv"
    file.write_text(header + "1,2,3\n4,5e-1,-6\n")
    np.testing.assert_array_equal(read_inputs(file, TABLE), [[1, 2, 3], [4, 0.5, -6]])


def test_a_grey_image_is_scaled_to_the_input_range(tmp_path):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_inputs(tmp_path / "a.png", GREY)[0, 0], pixels / 255, atol=1e-7)
    signed = read_inputs(tmp_path / "a.png", spec_of(1, 8, 8, input_range=(-1.0, 1.0)))
    np.testing.assert_allclose(signed[0, 0], pixels / 127.5 - 1, atol=1e-6)


def test_a_colour_image_has_its_channels_first_and_is_resized(tmp_path):
    red = np.zeros((20, 40, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "red.png")
    found = read_inputs(tmp_path / "red.png", COLOUR)
    assert found.shape == (1, 3, 2, 4)
    np.testing.assert_array_equal(found[0].mean(axis=(1, 2)), [1, 0, 0])
    assert read_inputs(tmp_path / "red.png", GREY).shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((2, 1, 9, 8), np.float32), r"shape \(2, 1, 9, 8\), expected \(N, 1, 8, 8\)"),
        (np.zeros((0, 1, 8, 8), np.float32), "N above 0"),
        (np.zeros((2, 1, 8, 8), np.uint8), "dtype uint8, expected float32 .*0 to 1"),
        (np.zeros((2, 1, 8, 8), bool), "dtype bool"),
        (np.zeros((2, 1, 8, 8), complex), "dtype complex128"),
        (np.array(["a"]), "dtype <U1"),
        (np.full((1, 1, 8, 8), 16.0), "values from 16 to 16, expected 0 to 1"),
        (np.full((1, 1, 8, 8), np.nan), "not finite"),
        (np.float32(1), r"shape \(\)"),
    ],
)
def test_an_array_that_does_not_fit_is_refused_with_observed_and_expected(tmp_path, array, match):
    with pytest.raises(DataError, match=match):
        read_inputs(save(tmp_path / "x.npy", array), GREY)


def test_a_hostile_pickle_in_an_array_file_is_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    np.save(tmp_path / "x.npy", np.array([Hostile()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not a plain NumPy file"):
        read_inputs(tmp_path / "x.npy", GREY)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("x.npy", b"", "not a plain NumPy file"),
        ("x.npz", b"PK\x03\x04 cut off", "not a plain NumPy file"),
        ("x.npz", None, "no such file"),
        ("x.png", b"no image", "not a readable image"),
        ("x.doc", b"", r"cannot read \.doc, expected \.npy, \.npz, \.csv"),
        ("x.csv", b"", "expected"),
        ("x.csv", b"a,b,c\n", "expected"),
        ("x.csv", b"1,2,3\n4,x,6\n", "row 2 is '4,x,6', expected 3 numeric columns"),
        ("x.csv", b"1,2,3\n4,5\n", "row 2"),
        ("x.csv", b"1,2\n", r"shape \(1, 2\), expected \(N, 3\)"),
        ("x.csv", b"1,2,nan\n", "not finite"),
        ("x.csv", b"\xff\xfe,2,3\n", "not a text file"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path, name, content, match):
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=match) as caught:
        read_inputs(file, TABLE if file.suffix != ".png" else GREY)
    assert name in caught.value.message


def test_an_archive_without_x_says_what_it_holds(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros(3), y=np.zeros(3))
    with pytest.raises(DataError, match="holds images, y, expected an array named x"):
        read_inputs(tmp_path / "x.npz", GREY)


def test_an_image_for_a_table_is_refused(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"an image, but the network takes \(3\)"):
        read_inputs(tmp_path / "a.png", TABLE)
