"""Rows of every kind of input get the answers of predict, and bad ones are refused or skipped with their reason."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pt_core.errors import ConfigError, DataError, IntegrityError
from pt_core.inference.postprocess import softmax
from pt_core.inference.predict import predict
from pt_core.inference.requests import PredictRequest
from pt_core.scoring.arrays import ArraySource
from pt_core.scoring.score import answer

NUM_ROWS = 20_000
"""More than one block of the table's rows, so that scoring has several parts."""


def rows_of(num_rows=NUM_ROWS):
    return np.random.default_rng(0).normal(size=(num_rows, 8)).astype(np.float32)


def names(path):
    return [f"c{number}" for number in range(8)] if path.suffix != ".npy" else []


def write(path, values, ids=None):
    """Write a table as the file's suffix says."""
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".parquet":
        columns = {name: values[:, at] for at, name in enumerate(names(path))}
        pq.write_table(pa.table(columns | ({} if ids is None else {"who": ids})), path, row_group_size=7_000)
    else:
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(names(path) + ([] if ids is None else ["who"]))
            for at, row in enumerate(values.tolist()):
                writer.writerow(row + ([] if ids is None else [ids[at]]))
    return path


def predicted(artifact, *paths):
    return predict(PredictRequest(bundle=artifact.directory, inputs=tuple(map(str, paths)))).predictions


def probabilities(answers, labels):
    return np.column_stack([answers[f"probability_{label}"].to_numpy() for label in labels])


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_a_table_of_any_kind_gets_the_very_answers_of_predict(table, scored, output, tmp_path, suffix):
    values = rows_of()
    reply = scored(table, write(tmp_path / f"rows{suffix}", values))
    answers = pq.read_table(output)
    expected = predicted(table, write(tmp_path / "asked.npy", values))
    assert probabilities(answers, table.labels).tolist() == [list(one.probabilities) for one in expected]
    assert answers["label"].to_pylist() == [one.label for one in expected]
    assert answers["probability"].to_pylist() == [one.probability for one in expected]
    assert answers["row"].to_pylist() == list(range(NUM_ROWS))
    assert set(answers["input"].to_pylist()) == {f"rows{suffix}"}
    assert set(answers["bundle_digest"].to_pylist()) == {table.digest}
    assert (reply.num_rows, reply.num_bad_rows, reply.bad_rows_file) == (NUM_ROWS, 0, None)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_columns_of_the_output_are_those_that_are_documented(table, scored, output, tmp_path):
    scored(table, write(tmp_path / "rows.npy", rows_of(3)))
    assert pq.read_schema(output).names == [
        *("input", "row", "label", "probability"),
        *("probability_a", "probability_b", "probability_c", "bundle_digest"),
    ]


def test_images_get_the_answers_of_predict_under_their_paths(digits, scored, output, tmp_path):
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    generator = np.random.default_rng(1)
    paths = [folder / "b.png", folder / "deep" / "a.jpg", folder / "z.png"]
    for path in [*paths, folder / ".hidden" / "x.png"]:
        Image.fromarray(generator.integers(0, 255, (12, 9), dtype=np.uint8)).save(path)
    scored(digits, folder)
    answers = pq.read_table(output)
    expected = [one for path in paths for one in predicted(digits, path)]
    assert answers["input"].to_pylist() == ["b.png", "deep/a.jpg", "z.png"]
    found = probabilities(answers, digits.labels)
    np.testing.assert_allclose(found, [one.probabilities for one in expected], atol=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_of_ids_names_the_rows_and_is_no_input(table, scored, output, tmp_path, suffix):
    values, ids = rows_of(500), [f"n{number}" for number in range(500)]
    scored(table, write(tmp_path / f"rows{suffix}", values, ids), id_column="who")
    answers = pq.read_table(output)
    assert answers["id"].to_pylist() == ids
    expected = predicted(table, write(tmp_path / "asked.npy", values))
    assert answers["probability"].to_pylist() == [one.probability for one in expected]


def spoilt(path):
    """Write 20,000 rows of which three are bad, in the first and in the last block."""
    values = rows_of()
    values[[5, 19_000, 19_001], [1, 2, 7]] = [np.nan, np.inf, np.nan]
    return write(path, values), values


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_bad_rows_are_refused_with_their_list(table, scored, output, tmp_path, suffix):
    source, _ = spoilt(tmp_path / f"rows{suffix}")
    remedy = "mend them, or leave them out by --bad-rows skip, or the field bad_rows;"
    with pytest.raises(DataError, match=f"3 of 20,000 rows cannot be scored; {remedy}") as caught:
        scored(table, source)
    columns = names(source)
    called = [columns[at] if columns else f"value {at}" for at in (1, 2, 7)]
    assert list(caught.value.details) == [
        f"rows{suffix} row {row}: {name}: {found}, expected a finite number"
        for row, name, found in zip((5, 19_000, 19_001), called, ("nan", "inf", "nan"), strict=True)
    ]
    assert not output.exists()
    with (tmp_path / "scores.bad-rows.csv").open(newline="") as lines:
        assert [line["row"] for line in csv.DictReader(lines)] == ["5", "19000", "19001"]


def test_bad_rows_can_be_skipped_and_change_no_other_answer(table, scored, output, tmp_path):
    source, values = spoilt(tmp_path / "rows.parquet")
    with pytest.raises(DataError):
        scored(table, source)
    reply = scored(table, source, bad_rows="skip")
    kept = np.isfinite(values).all(axis=1)
    answers = pq.read_table(output)
    assert answers["row"].to_pylist() == np.flatnonzero(kept).tolist()
    expected = predicted(table, write(tmp_path / "asked.npy", np.where(kept[:, None], values, 0)))
    np.testing.assert_allclose(
        answers["probability"],
        [e.probability for e, keep in zip(expected, kept, strict=True) if keep],
        atol=1e-6,
    )
    assert (reply.num_rows, reply.num_bad_rows) == (19_997, 3)
    assert reply.num_resumed_rows == 16_384, "what the refused call had scored is not scored again"
    with Path(reply.bad_rows_file).open(newline="") as lines:
        found = list(csv.DictReader(lines))
    assert [line["row"] for line in found] == ["5", "19000", "19001"]
    assert found[0] == {"input": "rows.parquet", "row": "5", "reason": "c1: nan, expected a finite number"}


class CentresBatches:
    """A predictor whose answer for a row depends on its batch, as where activations are scaled by the batch."""

    def logits(self, batch):
        return batch[:, :3] - batch[:, :3].mean(axis=0)

    def runtime(self):
        raise NotImplementedError


def test_a_row_is_answered_in_the_batch_that_predict_puts_it_in(table, tmp_path):
    values = rows_of(600)
    values[10, 0] = np.nan
    (block,) = ArraySource(write(tmp_path / "rows.npy", values), table.spec).blocks(start=0, size=1024)
    _, answers = answer(block, table, CentresBatches())
    batches = [values[:256][np.isfinite(values[:256, 0])], values[256:512], values[512:]]
    expected = np.concatenate([softmax(CentresBatches().logits(batch)) for batch in batches])
    assert probabilities(answers, table.labels).tolist() == expected.tolist()


def test_every_way_a_csv_row_can_be_bad_has_its_reason(table, scored, output, tmp_path):
    source = tmp_path / "rows.csv"
    good = ",".join("1" * 8)
    lines = [
        good,
        "1,2,3",
        good.replace("1", "x", 1),
        ",1,1,1,1,1,1,1",
        "",
        "1e39" + good[1:],
        "Ö,1,1,1,1,1,1,1",
        "1_000,1,1,1,1,1,1,1",
    ]
    source.write_bytes("\n".join(["a,b,c,d,e,f,g,h", *lines, good]).encode("latin-1"))
    reply = scored(table, source, bad_rows="skip")
    with Path(reply.bad_rows_file).open(newline="", encoding="utf-8") as stream:
        assert [(line["row"], line["reason"]) for line in csv.DictReader(stream)] == [
            ("1", "3 columns, expected 8"),
            ("2", "a: 'x', expected a number"),
            ("3", "a: empty, expected a number"),
            ("4", "a: inf, expected a finite number"),
            ("5", "a: '\ufffd', expected a number"),
            ("6", "a: '1_000', expected a number"),
        ]
    assert pq.read_table(output)["row"].to_pylist() == [0, 7]


class Overflows:
    """A network whose output is infinite where the first column is above 1000."""

    def logits(self, batch):
        return np.where(batch[:, :1] > 1000, np.inf, batch[:, :3])


def test_rows_without_a_finite_output_are_bad_under_their_own_numbers(table, tmp_path):
    values = rows_of(600)
    values[100, 2] = np.nan
    values[[50, 400], 0] = 1001
    (read,) = ArraySource(write(tmp_path / "rows.npy", values), table.spec).blocks(start=0, size=1024)
    block, answers = answer(read, table, Overflows())
    assert [(bad.row, bad.reason.partition(":")[0]) for bad in block.bad] == [
        (50, "the network's output is not finite"),
        (100, "value 2"),
        (400, "the network's output is not finite"),
    ]
    kept = [row for row in range(600) if row not in (50, 100, 400)]
    assert answers["row"].to_pylist() == kept
    assert probabilities(answers, table.labels).tolist() == softmax(values[kept, :3]).tolist()


def test_a_scoring_goes_on_past_a_row_without_a_finite_output(steep, scored, output, tmp_path):
    values = rows_of(600)
    values[400] = 3e38
    source = write(tmp_path / "rows.csv", values)
    with pytest.raises(DataError, match="1 of 600 rows") as caught:
        scored(steep, source)
    assert caught.value.details == ("rows.csv row 400: the network's output is not finite",)
    assert scored(steep, source, bad_rows="skip").num_bad_rows == 1
    assert pq.read_table(output)["row"].to_pylist() == [*range(400), *range(401, 600)]


def test_values_out_of_range_and_files_that_are_no_images_are_bad_rows(digits, scored, output, tmp_path):
    pixels = np.zeros((2, 1, 8, 8), np.float32)
    pixels[1, 0, 0, 3] = 1.5
    np.save(tmp_path / "x.npy", pixels)
    with pytest.raises(DataError) as caught:
        scored(digits, tmp_path / "x.npy")
    assert caught.value.details == ("x.npy row 1: value 3: 1.5, expected 0 to 1",)
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("L", (8, 8)).save(folder / "good.png")
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:40])
    (folder / "notes.txt").write_text("words")
    reply = scored(digits, folder, bad_rows="skip")
    assert pq.read_table(output)["input"].to_pylist() == ["good.png"]
    with Path(reply.bad_rows_file).open(newline="") as lines:
        reasons = {line["input"]: line["reason"] for line in csv.DictReader(lines)}
    assert reasons["notes.txt"].startswith("not an image, expected .bmp, ")
    assert "image" in reasons["cut.png"]


def test_an_input_without_one_good_row_makes_no_output(table, scored, output, tmp_path):
    source = write(tmp_path / "rows.npy", np.full((3, 8), np.nan, np.float32))
    with pytest.raises(DataError, match="none of its 3 rows can be scored"):
        scored(table, source, bad_rows="skip")
    assert not output.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.txt", "1,2", "cannot read .txt, expected a folder of images, .csv, .parquet, .npy"),
        ("rows.csv", "", "holds no rows"),
        ("rows.csv", "a,b,c\n1,2,3\n", "3 columns, expected 8 for the network's .8.; it has a, b, c"),
        (
            "rows.csv",
            "1,2,3\n",
            "3 columns, expected 8 for the network's .8.; it has 3 columns and no header",
        ),
        ("rows.csv", "1,2,3,4,5,6,7,\n", "the first row is '1,2,3,4,5,6,7,', names and numbers"),
        ("rows.parquet", "PAR1", "not a readable Parquet file"),
        ("rows.npy", "words", "not a plain NumPy file"),
    ],
)
def test_an_input_that_is_not_what_the_network_takes_is_a_sentence(
    table, scored, tmp_path, name, content, message
):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        scored(table, tmp_path / name)


def test_a_column_that_is_missing_or_no_number_is_named(table, scored, tmp_path):
    source = write(tmp_path / "rows.parquet", rows_of(5))
    with pytest.raises(DataError, match="no column 'key' for the rows' ids; it has c0, c1"):
        scored(table, source, id_column="key")
    words = pq.read_table(source).set_column(3, "c3", pa.array(["x"] * 5))
    pq.write_table(words, source)
    with pytest.raises(DataError, match="1 columns are no numbers") as caught:
        scored(table, source)
    assert caught.value.details == ("c3: string, expected numbers",)


def test_whole_numbers_and_truth_values_and_nulls_of_parquet_are_understood(table, scored, output, tmp_path):
    columns = {f"c{number}": pa.array([1, 2], pa.int16()) for number in range(8)}
    columns["c0"] = pa.array([True, False])
    columns["c1"] = pa.array([1.5, None])
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    reply = scored(table, tmp_path / "rows.parquet", bad_rows="skip")
    assert (reply.num_rows, reply.num_bad_rows) == (1, 1)
    expected = predicted(table, write(tmp_path / "asked.npy", np.array([[1, 1.5, *[1] * 6]], np.float32)))
    assert pq.read_table(output)["probability"].to_pylist() == [expected[0].probability]


def test_an_output_of_something_else_is_not_written_over(table, scored, output, tmp_path):
    source = write(tmp_path / "rows.npy", rows_of(9))
    output.write_text("mine")
    with pytest.raises(
        ConfigError, match=r"exists and holds something else.*--overwrite, or the field overwrite"
    ):
        scored(table, source)
    assert output.read_text() == "mine"
    scored(table, source, overwrite=True)
    before = output.stat()
    again = scored(table, source)
    assert (again.num_resumed_rows, again.rows_per_second) == (9, None)
    assert output.stat() == before, "an output that is whole already is left as it is"


def test_paths_that_cannot_be_meant_are_refused(table, scored, tmp_path):
    source = write(tmp_path / "rows.parquet", rows_of(5))
    with pytest.raises(ConfigError, match="is the input, or inside it"):
        scored(table, source, output=str(source), overwrite=True)
    with pytest.raises(ConfigError, match="none: no such file or folder"):
        scored(table, tmp_path / "none")
    with pytest.raises(ConfigError, match=r"expected the name of a \.parquet file to write; found \.csv"):
        scored(table, source, output=str(tmp_path / "x.csv"))


def test_a_damaged_artifact_scores_nothing(table, scored, output, tmp_path):
    weights = tmp_path / table.directory / table.payload[0]
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        scored(table, write(tmp_path / "rows.npy", rows_of(5)))
    assert not output.exists()


def test_an_output_says_what_its_answers_rest_on(table, scored, output, tmp_path):
    scored(table, write(tmp_path / "rows.npy", rows_of(5)))
    stamp = json.loads(pq.read_schema(output).metadata[b"pt_pipeline.scores"])
    assert (stamp["bundle_digest"], stamp["num_rows"]) == (table.digest, 5)
