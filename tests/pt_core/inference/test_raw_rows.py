"""Raw rows become the same numbers for an artifact as they were in training, whatever file they are in."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pt_core.data.config import SPLITS, DataConfig
from pt_core.data.dataset import load_split
from pt_core.data.encode import encode_cells
from pt_core.data.encoding import ColumnEncoding, ImageDecoding, TableEncoding
from pt_core.data.images import read_image, to_unit
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.errors import DataError
from pt_core.inference.preprocess import read_inputs
from pt_core.modeling.spec import ModelSpec

NUM = 90


def spec_of(shape, *, table=None, images=None) -> ModelSpec:
    return ModelSpec(
        target="tiny:Baked",
        arguments={},
        input_shape=shape,
        num_classes=2,
        mean=None,
        std=None,
        input_range=(0.0, 1.0) if images else None,
        table=table,
        images=images,
    )


@pytest.fixture(scope="module")
def frame():
    generator = np.random.default_rng(0)
    age = generator.integers(18, 80, NUM).astype(float)
    age[::8] = np.nan
    floor = generator.integers(0, 3, NUM).astype(float)
    floor[::9] = np.nan
    colour = generator.choice(["red", "green, dark", 'b"lue'], NUM)
    return pd.DataFrame({"age": age, "floor": floor, "colour": colour, "outcome": np.arange(NUM) % 2})


@pytest.fixture(scope="module")
def trained(frame, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    frame.to_csv(folder / "rows.csv", index=False)
    table = {
        "target": "outcome",
        "categorical": ["floor", "colour"],
        "missing": "mean",
        "missing_indicator": True,
    }
    config = DataConfig.model_validate({"source": "table", "path": "rows.csv", "table": table})
    request = PrepareRequest(
        config=config, seed=0, base_dir=str(folder), source_sha256=None, store=str(folder)
    )
    return prepare(request)


@pytest.fixture(scope="module")
def expected(trained):
    x = np.empty((NUM, *trained.input_shape), np.float32)
    for name in SPLITS:
        samples = load_split(trained, name)
        x[samples.ids] = samples.x
    return x


@pytest.mark.parametrize("form", ["csv", "parquet", "reordered", "whole numbers"])
def test_rows_are_encoded_as_they_were_for_training(tmp_path, frame, trained, expected, form):
    spec = spec_of(trained.input_shape, table=trained.table)
    if form == "parquet":
        frame.drop(columns="outcome").to_parquet(tmp_path / "rows.parquet")
        path = tmp_path / "rows.parquet"
    else:
        path = tmp_path / "rows.csv"
        columns = ["colour", "age", "floor"] if form == "reordered" else list(frame.columns)
        written = frame[columns].assign(other="x")
        if form == "whole numbers":
            written["floor"] = frame["floor"].map(lambda v: "NA" if v != v else str(int(v)))
        written.to_csv(path, index=False)
    np.testing.assert_array_equal(read_inputs(path, spec), expected)


def test_rows_that_cannot_be_encoded_are_named_one_by_one(tmp_path):
    columns = (
        ColumnEncoding(name="age", kind="numeric"),
        ColumnEncoding(name="colour", kind="categorical", categories=("", "red")),
    )
    spec = spec_of((3,), table=TableEncoding(columns=columns, unseen="refuse"))
    (tmp_path / "rows.csv").write_text("age,colour\n1,red\nold,red\n,red\n1e99,red\n2,mauve\n3,\n")
    with pytest.raises(DataError) as caught:
        read_inputs(tmp_path / "rows.csv", spec)
    assert "4 of 6 rows cannot be encoded" in caught.value.message
    assert caught.value.details == (
        "row 1: age: 'old', expected a finite number",
        "row 2: age: '', expected a finite number",
        "row 3: age: '1e99', expected a finite number",
        "row 4: colour: 'mauve', which the training data lacks",
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is empty, expected a header"),
        ("age,colour\n", "holds no rows below its header"),
        ("age\n1\n", "has no column colour, expected a header with age, colour"),
        ("age,age,colour\n1,2,red\n", "names a column twice"),
        ("age,colour\n1\n", "row 0 has 1 cells, expected 2"),
    ],
)
def test_a_file_without_the_columns_is_refused(tmp_path, content, expected):
    columns = (
        ColumnEncoding(name="age", kind="numeric", fill=0.0),
        ColumnEncoding(name="colour", kind="categorical", categories=("red",)),
    )
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(DataError, match=expected):
        read_inputs(tmp_path / "rows.csv", spec_of((2,), table=TableEncoding(columns=columns)))


def test_an_unseen_category_is_zeros_or_minus_one_where_it_is_let_through():
    for encoder, numbers in (("one-hot", [[0, 0], [0, 1]]), ("ordinal", [[-1], [1]])):
        column = ColumnEncoding(name="c", kind="categorical", categories=("a", "b"), encoder=encoder)
        found = encode_cells({"c": ["mauve", "b"]}, TableEncoding(columns=(column,)), where="here")
        np.testing.assert_array_equal(found.samples, numbers)
        assert found.problems == {}


def test_rows_are_encoded_without_the_libraries_that_training_reads_them_with(tmp_path):
    code = (
        "import sys; sys.modules['pandas'] = None; sys.modules['sklearn'] = None\n"
        "from pathlib import Path\n"
        "from pt_core.data.encoding import ColumnEncoding, TableEncoding\n"
        "from pt_core.inference.raw_rows import read_rows\n"
        "Path(sys.argv[1]).write_text('age\\n3\\n')\n"
        "column = ColumnEncoding(name='age', kind='numeric')\n"
        "print(read_rows(Path(sys.argv[1]), TableEncoding(columns=(column,))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "rows.csv")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[[3.]]"


def test_an_image_is_decoded_as_the_training_images_were(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 17, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.webp", lossless=True)
    decoding = ImageDecoding(size=(8, 8), resize="pad")
    found = read_inputs(tmp_path / "a.webp", spec_of((3, 8, 8), images=decoding))
    np.testing.assert_array_equal(found[0], to_unit(read_image(tmp_path / "a.webp", decoding)))
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    with pytest.raises(
        DataError, match=r"grey\.png: not a readable image: wrong channels: mode L, expected RGB"
    ):
        read_inputs(tmp_path / "grey.png", spec_of((3, 8, 8), images=decoding))
