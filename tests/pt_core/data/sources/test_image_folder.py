"""Image folders: any size and kind of file becomes pixels by policy, or is put aside with its reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from pt_core.data.config import SPLITS, DataConfig, ImagesConfig
from pt_core.data.dataset import load_split
from pt_core.data.encoding import ImageDecoding
from pt_core.data.images import decode, read_image
from pt_core.data.packed import PackedImages
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.errors import DataError

PER_CLASS = 24


def pixels_of(height, width, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def make_folder(folder: Path) -> Path:
    for number, label in enumerate(("cat", "dog")):
        (folder / label).mkdir(parents=True)
        for index in range(PER_CLASS):
            seed = number * 1000 + index
            image = Image.fromarray(pixels_of(8 + seed % 5, 9 + seed % 3, seed=seed))
            image.save(folder / label / f"{index:03}.{'png' if index % 2 else 'jpg'}", quality=95)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("pictures") / "animals")


def prepared(store, folder, *, seed=0, splits=None, labels=None, **images):
    where = {"path": str(folder)} if splits is None else {"splits": splits}
    settings = {"source": "image_folder", **where, "images": {"size": [6, 6], **images}, "labels": labels}
    config = DataConfig.model_validate(settings)
    return prepare(
        PrepareRequest(config=config, seed=seed, base_dir="/", source_sha256=None, store=str(store))
    )


@pytest.fixture(scope="module")
def cached(pictures, tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("store"), pictures)


def test_every_image_is_there_once_with_its_own_pixels_and_class(pictures, cached):
    names = json.loads((Path(cached.directory) / "files.json").read_text())["samples"]
    assert sorted(names) == sorted(f"animals/{p.relative_to(pictures)}" for p in pictures.rglob("*.*g"))
    for split in SPLITS:
        x, y, ids = load_split(cached, split)
        for row in range(0, len(ids), 5):
            path = pictures.parent / names[ids[row]]
            assert cached.labels[y[row]] == path.parent.name
            expected = read_image(path, ImageDecoding(size=(6, 6)))
            np.testing.assert_array_equal(np.rint(x[row] * 255).astype(np.uint8), expected)
    assert (cached.input_shape, cached.input_range) == ((3, 6, 6), (0.0, 1.0))


def test_images_above_the_limit_of_the_cache_are_decoded_as_they_are_read(pictures, cached, tmp_path):
    packed = prepared(tmp_path, pictures, max_cached_gib=0)
    assert [split.is_packed for split in packed.splits] == [True, False, False, False]
    assert not (Path(packed.directory) / "train_x.npy").exists()
    lazily, eagerly = load_split(packed, "train").x, load_split(cached, "train").x
    rows = np.array([3, 0, 3, 27])
    np.testing.assert_array_equal(lazily[rows], eagerly[rows])
    np.testing.assert_array_equal(lazily[:2], eagerly[:2])
    np.testing.assert_array_equal(lazily[5], eagerly[5])
    np.testing.assert_array_equal(np.array(lazily), eagerly)
    assert (lazily.shape, lazily.ndim, lazily.nbytes) == (eagerly.shape, eagerly.ndim, eagerly.nbytes)
    assert (packed.fingerprint, packed.mean, packed.std) == (cached.fingerprint, cached.mean, cached.std)


@pytest.mark.parametrize(
    "rows", [3, -1, slice(2, 9, 3), slice(None, None, -1), [5, 0, -2], [], np.arange(26) % 3 == 0]
)
def test_rows_of_encoded_images_are_chosen_as_those_of_an_array(rows):
    packed = PackedImages(*packed_png(26), ImageDecoding(size=(2, 2), mode="L"))
    expected = (np.arange(26, dtype=np.float32) / 255).reshape(26, 1, 1, 1) * np.ones(
        (1, 1, 2, 2), np.float32
    )
    np.testing.assert_allclose(packed[rows], expected[rows], rtol=1e-6)
    with pytest.raises(IndexError):
        packed[[0, 26]]


def packed_png(num):
    files = [png(Image.new("L", (2, 2), value)) for value in range(num)]
    return np.frombuffer(b"".join(files), np.uint8), np.cumsum([0, *map(len, files)])


@pytest.mark.parametrize("size", [[0, 6], [6, -3]])
def test_a_size_that_no_image_has_is_refused_where_it_is_configured(size):
    with pytest.raises(ValidationError, match="greater than 0"):
        ImagesConfig(size=size)


def test_neither_names_nor_the_file_system_decide_the_data(pictures, cached, tmp_path):
    for path in pictures.rglob("*.*g"):
        copy = tmp_path / "other" / path.parent.name / f"{hash(path) % 10**9}{path.suffix}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (tmp_path / "other" / "cat" / ".DS_Store").write_bytes(b"no image")
    other = prepared(tmp_path / "store", tmp_path / "other")
    assert (other.fingerprint, other.splits, other.mean) == (cached.fingerprint, cached.splits, cached.mean)


@pytest.fixture
def spoilt(pictures, tmp_path):
    folder = tmp_path / "animals"
    shutil.copytree(pictures, folder)
    (folder / "cat" / "cut.jpg").write_bytes((folder / "cat" / "000.jpg").read_bytes()[:400])
    (folder / "cat" / "text.png").write_text("no image")
    (folder / "cat" / "notes.txt").write_text("notes")
    Image.fromarray(pixels_of(40, 40)).save(folder / "dog" / "large.png")
    Image.fromarray(pixels_of(8, 8, channels=4)).save(folder / "dog" / "transparent.png")
    Image.fromarray(pixels_of(8, 8, channels=1)).save(folder / "dog" / "grey.png")
    Image.fromarray(pixels_of(8, 8, channels=1).astype(np.uint16) * 256).save(folder / "dog" / "deep.png")
    return folder


BAD = {
    "animals/cat/cut.jpg": "truncated or damaged",
    "animals/cat/text.png": "no image of a known format",
    "animals/cat/notes.txt": "not an image file by its name",
    "animals/dog/large.png": "oversized: 40 x 40 pixels, expected at most 1,000",
    "animals/dog/transparent.png": "wrong channels: mode RGBA, expected RGB",
    "animals/dog/grey.png": "wrong channels: mode L, expected RGB",
    "animals/dog/deep.png": "wrong channels: mode I;16 has more than 8 bits",
}


def test_images_that_cannot_be_used_are_put_aside_counted_and_listed(spoilt, cached, tmp_path):
    dataset = prepared(tmp_path / "store", spoilt, max_pixels=1000, max_bad_fraction=0.2)
    found = {one.file: one.reason for one in dataset.quarantined}
    assert found.keys() == BAD.keys()
    assert all(found[name].startswith(reason) for name, reason in BAD.items())
    assert dataset.num_quarantined == 7
    # What is left is what was there before.
    assert (dataset.fingerprint, dataset.splits) == (cached.fingerprint, cached.splits)
    listed = json.loads((Path(dataset.directory) / "files.json").read_text())["quarantined"]
    assert {one["file"] for one in listed} == BAD.keys()


def test_too_many_of_them_are_refused_each_by_name(spoilt, tmp_path):
    with pytest.raises(DataError) as caught:
        prepared(tmp_path / "store", spoilt, max_pixels=1000, max_bad_fraction=0.1)
    assert caught.value.details[0].startswith("7 of 55 files cannot be used (12.7%), expected at most 10.0%")
    assert all(any(line.startswith(name) for line in caught.value.details) for name in BAD)


def test_a_folder_for_each_split_is_kept_and_a_copy_in_two_of_them_refused(pictures, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(pictures, tmp_path / split)
    for path in (tmp_path / "train").rglob("*.jpg"):
        path.unlink()
    for path in (tmp_path / "test").rglob("*.png"):
        path.unlink()
    splits = {name: str(tmp_path / name) for name in ("train", "test")}
    dataset = prepared(tmp_path / "store", None, splits=splits)
    assert [split.num_samples for split in dataset.splits] == [20, 2, 2, 24]
    shutil.copyfile(tmp_path / "test" / "cat" / "000.jpg", tmp_path / "train" / "cat" / "copy.jpg")
    with pytest.raises(DataError) as caught:
        prepared(tmp_path / "store", None, splits=splits)
    assert "1 id(s) are in more than one split" in caught.value.details[0]


def test_a_folder_of_splits_given_as_a_folder_of_classes_is_refused_with_the_remedy(tmp_path):
    for name in ("train", "val"):
        (tmp_path / "data" / name).mkdir(parents=True)
    with pytest.raises(DataError, match=r"set data\.splits: \{train: data/train, val: data/val\}"):
        prepared(tmp_path / "store", tmp_path / "data")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: None, "has no folder in it, expected one for each class"),
        (lambda folder: (folder / "cat").mkdir(), "no image in any class folder"),
    ],
)
def test_a_folder_without_images_is_refused(tmp_path, make, expected):
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    with pytest.raises(DataError, match=expected):
        prepared(tmp_path / "store", tmp_path / "data")


def test_a_class_folder_that_is_not_in_the_labels_is_named(pictures, tmp_path):
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, pictures, labels=["cat", "horse"])
    assert any(
        "class folder(s) dog not in data.labels, expected cat, horse" in d for d in caught.value.details
    )


def png(image: Image.Image, **options) -> bytes:
    import io

    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


HALVES = np.zeros((4, 12), np.uint8)
HALVES[:, 6:] = 255


@pytest.mark.parametrize(
    "resize",
    ["crop", "stretch", "pad"],
)
def test_each_policy_of_resizing_keeps_what_it_says(resize):
    decoding = ImageDecoding(size=(4, 4), mode="L", resize=resize)
    found = decode(png(Image.fromarray(HALVES)), decoding)[0]
    if resize == "crop":
        np.testing.assert_array_equal(found, np.repeat([[0, 0, 255, 255]], 4, axis=0))
    elif resize == "stretch":
        assert (found[:, 0] == 0).all()
        assert (found[:, -1] == 255).all()
        assert (found == found[:1]).all()
    else:
        (row,) = np.flatnonzero(found.any(axis=1))
        assert row in (1, 2)
        np.testing.assert_allclose(found[row], [0, 0, 255, 255], atol=30)


def test_an_image_lies_as_its_camera_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    decoding = ImageDecoding(size=(12, 4), mode="L", resize="stretch")
    found = decode(png(Image.fromarray(HALVES), exif=exif), decoding)[0]
    np.testing.assert_array_equal(found, np.rot90(HALVES, k=-1))


def test_channels_are_converted_only_where_that_is_asked_for():
    grey = png(Image.fromarray(pixels_of(4, 4, channels=1)))
    with pytest.raises(DataError, match=r"images\.convert: true converts it"):
        decode(grey, ImageDecoding(size=(4, 4)))
    found = decode(grey, ImageDecoding(size=(4, 4), convert=True))
    np.testing.assert_array_equal(found, np.repeat(pixels_of(4, 4, channels=1)[None], 3, axis=0))


def test_a_small_file_of_a_huge_image_is_refused_before_it_is_decoded():
    bomb = png(Image.new("1", (10_000, 10_000)))
    assert len(bomb) < 100_000
    with pytest.raises(DataError, match="oversized"):
        decode(bomb, ImageDecoding(mode="L"))


def test_a_program_in_an_image_format_is_never_started():
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    with pytest.raises(DataError, match="no image of a known format"):
        decode(postscript, ImageDecoding(size=(4, 4)))


def test_damaged_bytes_give_a_sentence_whatever_they_are():
    generator = np.random.default_rng(0)
    whole = bytearray(png(Image.fromarray(pixels_of(16, 16))))
    outcomes = set()
    for _ in range(300):
        broken = bytearray(whole)
        for place in generator.integers(0, len(whole), 4):
            broken[place] = generator.integers(0, 256)
        try:
            outcomes.add(decode(bytes(broken), ImageDecoding(size=(4, 4))).shape)
        except DataError:
            outcomes.add("refused")
    assert "refused" in outcomes
