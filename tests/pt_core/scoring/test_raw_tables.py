"""Raw rows are encoded as the training rows were, by the encoding in the bundle, and get the answers of predict."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pt_core.data.encoding import ColumnEncoding, TableEncoding
from pt_core.errors import DataError
from pt_core.inference.predict import predict
from pt_core.inference.requests import PredictRequest

COLUMNS = (
    ColumnEncoding(name="age", kind="numeric", fill=40.0, indicator=True),
    ColumnEncoding(name="weight", kind="numeric"),
    ColumnEncoding(name="town", kind="categorical", categories=("", "Bonn", "Köln")),
    ColumnEncoding(name="size", kind="categorical", categories=("l", "s"), encoder="ordinal"),
    ColumnEncoding(name="height", kind="numeric", fill=0.0),
)


@pytest.fixture
def spec(spec):
    return spec.model_copy(update={"table": TableEncoding(columns=COLUMNS, unseen="refuse")})


def write(path, rows):
    """Write rows of text in another order of columns, with one that the network does not know."""
    names = ["key", "size", "town", "height", "age", "weight"]
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows(rows)
        return path
    columns = {name: [row[name] or None for row in rows] for name in names}
    for name in ("age", "weight", "height"):
        columns[name] = [None if cell is None else float(cell) for cell in columns[name]]
    pq.write_table(pa.table(columns), path)
    return path


def rows_of(num_rows):
    generator = np.random.default_rng(2)
    return [
        {
            "key": f"k{number}",
            "size": str(generator.choice(["l", "s"])),
            "town": str(generator.choice(["Bonn", "Köln", ""])),
            "height": f"{generator.normal():.3f}",
            "age": "" if generator.random() < 0.2 else str(generator.integers(20, 60)),
            "weight": f"{generator.normal():.3f}",
        }
        for number in range(num_rows)
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_raw_rows_get_the_answers_of_predict(table, scored, output, tmp_path, suffix):
    source = write(tmp_path / f"rows{suffix}", rows_of(700))
    scored(table, source, id_column="key")
    answers = pq.read_table(output)
    expected = predict(PredictRequest(bundle=table.directory, inputs=(str(source),))).predictions
    assert answers["probability"].to_pylist() == [one.probability for one in expected]
    assert answers["label"].to_pylist() == [one.label for one in expected]
    assert answers["id"].to_pylist() == [f"k{number}" for number in range(700)]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_raw_rows_that_cannot_be_encoded_are_skipped_with_their_reason(
    table, scored, output, tmp_path, suffix
):
    rows = rows_of(4)
    rows[1]["weight"] = ""
    rows[2]["town"] = "Ulm"
    reply = scored(table, write(tmp_path / f"rows{suffix}", rows), bad_rows="skip")
    with Path(reply.bad_rows_file).open(newline="") as lines:
        found = {line["row"]: line["reason"] for line in csv.DictReader(lines)}
    assert set(found) == {"1", "2"}
    assert found["1"].startswith("weight: ")
    assert found["2"] == "town: 'Ulm', which the training data lacks"
    assert pq.read_table(output)["row"].to_pylist() == [0, 3]


def test_bytes_that_are_no_text_are_not_taken_for_a_category(table, scored, tmp_path):
    source = write(tmp_path / "rows.csv", rows_of(2))
    source.write_bytes(
        source.read_bytes().replace("Köln".encode(), "Köln".encode("latin-1")) + b"k,l,K\xf6ln,1,1,1\n"
    )
    with pytest.raises(DataError) as caught:
        scored(table, source)
    assert caught.value.details[-1] == "rows.csv row 2: town: 'K\ufffdln' is not UTF-8"


def test_every_column_that_is_missing_is_named(table, scored, tmp_path):
    source = tmp_path / "rows.csv"
    source.write_text("size,town,height,town\nl,Bonn,1,Bonn\n")
    with pytest.raises(DataError, match="lacks columns of the training data, or has them twice") as caught:
        scored(table, source)
    assert list(caught.value.details) == ["age: missing", "weight: missing", "town: 2 columns"]
