"""Tables: what becomes of columns and missing cells, checked against scikit-learn, and a sentence for what is wrong."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from pt_core.data.config import SPLITS, DataConfig
from pt_core.data.dataset import load_split
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.errors import DataError

COLOURS = ("blue", "green", "red")


def frame_of(num_rows=120):
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": generator.integers(18, 80, num_rows),
            "colour": generator.choice(COLOURS, num_rows),
            "height": generator.normal(170, 10, num_rows).round(3),
            "outcome": np.where(np.arange(num_rows) % 3, "no", "yes"),
        }
    )


def prepared(folder, frame, *, name="rows.csv", seed=0, splits=None, **table):
    if frame is not None:
        save = frame.to_csv if name.endswith("csv") else frame.to_parquet
        save(folder / name, index=False)
    where = {"path": name} if splits is None else {"splits": splits}
    config = DataConfig.model_validate({"source": "table", **where, "table": {"target": "outcome", **table}})
    return prepare(
        PrepareRequest(config=config, seed=seed, base_dir=str(folder), source_sha256=None, store=str(folder))
    )


def problems(folder, frame, **settings):
    with pytest.raises(DataError) as caught:
        prepared(folder, frame, **settings)
    return [caught.value.message, *caught.value.details]


@pytest.mark.parametrize(("encoder", "oracle"), [("one-hot", OneHotEncoder), ("ordinal", OrdinalEncoder)])
def test_categories_are_encoded_as_scikit_learn_does(tmp_path, encoder, oracle):
    frame = frame_of()
    dataset = prepared(tmp_path, frame, encoder=encoder)
    fitted = oracle().fit(frame[["colour"]].to_numpy())
    for name in SPLITS:
        x, _, ids = load_split(dataset, name)
        rows = frame.iloc[np.array(ids)]
        encoded = fitted.transform(rows[["colour"]].to_numpy())
        np.testing.assert_array_equal(x[:, 2:], encoded.toarray() if encoder == "one-hot" else encoded)
        np.testing.assert_allclose(x[:, :2], rows[["age", "height"]].to_numpy(), rtol=1e-6)


@pytest.mark.parametrize("policy", ["mean", "median", "constant"])
def test_missing_numbers_are_filled_by_what_the_training_split_alone_says(tmp_path, policy):
    frame = frame_of().astype({"age": float})
    frame.loc[::7, "age"] = np.nan
    value = {"missing_value": -1.0} if policy == "constant" else {}
    dataset = prepared(tmp_path, frame, missing=policy, missing_indicator=True, **value)
    ids = {name: np.array(load_split(dataset, name).ids) for name in SPLITS}
    oracle = SimpleImputer(strategy=policy, fill_value=-1.0, add_indicator=True)
    oracle.fit(frame[["age"]].to_numpy()[ids["train"]])
    for name in SPLITS:
        expected = oracle.transform(frame[["age"]].to_numpy()[ids[name]])
        np.testing.assert_allclose(load_split(dataset, name).x[:, :2], expected, rtol=1e-6)
    assert dataset.table.outputs[:4] == ("age", "age=missing", "height", "height=missing")


def test_an_outlier_in_the_test_split_moves_nothing_that_was_learnt(tmp_path):
    frame = frame_of().astype({"age": float})
    frame.loc[3, "age"] = np.nan
    before = prepared(tmp_path, frame, missing="mean")
    victim = int(load_split(before, "test").ids[0])
    frame.loc[victim, ["age", "colour"]] = [1e6, "violet"]
    after = prepared(tmp_path, frame, missing="mean")
    assert (after.table, after.mean, after.std) == (before.table, before.mean, before.std)
    np.testing.assert_array_equal(load_split(after, "test").x[0, 2:], [0, 0, 0])


def test_a_missing_category_is_a_category_where_missing_is_not_refused(tmp_path):
    frame = frame_of()
    frame.loc[::5, "colour"] = None
    dataset = prepared(tmp_path, frame, missing="constant")
    assert dataset.table.columns[-1].categories == ("", *COLOURS)
    assert "colour=missing" in dataset.table.outputs


def test_csv_and_parquet_with_the_same_rows_are_the_same_data(tmp_path):
    frame = frame_of().astype({"age": float})
    frame["floor"] = np.arange(120) % 3
    frame.loc[::9, "age"] = np.nan
    frame.loc[::11, "floor"] = None
    settings = {"missing": "median", "categorical": ("colour", "floor")}
    one = prepared(tmp_path, frame, **settings)
    two = prepared(tmp_path, frame, name="rows.parquet", **settings)
    assert one.table.columns[-1].categories == ("", "0", "1", "2")
    assert (one.table, one.fingerprint, one.splits) == (two.table, two.fingerprint, two.splits)


def test_classes_named_by_numbers_are_in_the_order_of_the_numbers(tmp_path):
    frame = frame_of().assign(outcome=np.array([10, 9, -1])[np.arange(120) % 3])
    assert prepared(tmp_path, frame).labels == ("-1", "9", "10")


def test_neither_the_order_of_the_rows_nor_of_the_columns_changes_the_data_where_rows_have_ids(tmp_path):
    frame = frame_of().assign(person=[f"p{n:03}" for n in range(120)])
    shuffled = frame.sample(frac=1, random_state=0)[["outcome", "height", "person", "colour", "age"]]
    columns = {"numeric": ("age", "height"), "categorical": ("colour",)}
    one = prepared(tmp_path, frame, id="person", **columns)
    assert prepared(tmp_path, shuffled, id="person", **columns).digest == one.digest
    assert prepared(tmp_path, shuffled, id="person").fingerprint == one.fingerprint


def test_rows_of_one_id_are_never_in_two_splits(tmp_path):
    frame = frame_of().assign(person=np.arange(120) // 3)
    frame["outcome"] = np.where(frame["person"] % 2, "no", "yes")
    dataset = prepared(tmp_path, frame, id="person", ignore=())
    people = sorted(str(person) for person in frame["person"])
    of = [{people[row] for row in load_split(dataset, name).ids} for name in SPLITS]
    assert all(one.isdisjoint(other) for place, one in enumerate(of) for other in of[:place])
    assert sum(split.num_samples for split in dataset.splits) == 120


def test_a_column_of_splits_is_kept_and_what_it_lacks_is_drawn_from_train(tmp_path):
    frame = frame_of().assign(part=np.where(np.arange(120) < 80, "train", "test"))
    frame.loc[70:80, "part"] = "val"
    dataset = prepared(tmp_path, frame, split="part")
    ids = {name: set(load_split(dataset, name).ids.tolist()) for name in SPLITS}
    assert ids["test"] == set(range(81, 120))
    assert ids["validation"] == set(range(70, 81))
    assert ids["train"] | ids["calibration"] == set(range(70))
    assert len(ids["calibration"]) == 7


def test_a_file_for_each_split_is_kept(tmp_path):
    frame = frame_of()
    frame[:90].to_csv(tmp_path / "a.csv", index=False)
    frame[90:].to_parquet(tmp_path / "b.parquet", index=False)
    dataset = prepared(tmp_path, None, splits={"train": "a.csv", "test": "b.parquet"})
    assert set(load_split(dataset, "test").ids.tolist()) == set(range(90, 120))


def test_everything_that_is_wrong_with_a_table_is_told_at_once(tmp_path):
    frame = frame_of().astype({"age": object})
    frame.loc[4, "age"] = "old"
    frame.loc[5, "height"] = np.inf
    frame.loc[6, "colour"] = None
    frame.loc[7, "outcome"] = None
    frame["person"] = [f"p{n}" for n in range(120)]
    frame.loc[8, "person"] = None
    frame["name"] = [f"n{n}" for n in range(120)]
    found = problems(tmp_path, frame, numeric=("age", "height"), id="person", ignore=())
    for expected in (
        "column age has 1 cell(s) that are no number in 1 row(s): 4",
        "column height has 1 infinite value(s) in 1 row(s): 5",
        "column colour has 1 missing value(s) in 1 row(s): 6; fill them, or set data.table.missing",
        "column outcome (the class) has 1 missing value(s) in 1 row(s): 7",
        "column person has 1 missing id(s) in 1 row(s): 8",
        "column name has 120 categories, expected at most 100",
    ):
        assert any(expected in problem for problem in found), (expected, found)
    assert found[0] == "data: 6 problem(s) to repair before training"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"ignore": ("weight",)}, "has no column weight, found age, colour, height, outcome"),
        ({"categorical": ()}, "column colour holds no numbers and is not in data.table.categorical"),
        ({"ignore": ("age", "colour", "height")}, "no column is left to learn from besides outcome"),
    ],
)
def test_columns_that_do_not_fit_the_file_are_named(tmp_path, settings, expected):
    assert expected in problems(tmp_path, frame_of(), **settings)[0]


def test_a_word_in_a_column_of_numbers_makes_it_no_column_of_categories(tmp_path):
    frame = frame_of().astype({"age": object})
    frame.loc[[4, 9], "age"] = "old"
    (_, problem) = problems(tmp_path, frame)
    assert problem.startswith(
        "column age has 2 cell(s) that are no number in 2 row(s): 4, 9; repair them, or list"
    )
    assert prepared(tmp_path, frame, categorical=("age", "colour")).table.columns[1].name == "age"


def test_an_unseen_category_is_refused_where_that_is_asked_for(tmp_path):
    frame = frame_of().assign(part=np.where(np.arange(120) < 80, "train", "test"))
    frame.loc[100, "colour"] = "violet"
    (_, problem) = problems(tmp_path, frame, split="part", unseen="refuse")
    assert problem.startswith("column colour has 'violet' in 1 row(s): 100, which the training split lacks")


def test_a_class_that_the_training_split_lacks_and_a_shared_id_are_named(tmp_path):
    frame = frame_of().assign(part=np.where(np.arange(120) < 80, "train", "test"), person=np.arange(120))
    frame.loc[100, "outcome"] = "maybe"
    frame.loc[101, "person"] = 5
    frame.loc[102, "part"] = "tset"
    found = problems(tmp_path, frame, split="part", id="person")
    assert any("the split is 'tset' in 1 row(s): 102, expected train" in one for one in found)
    frame.loc[102, "part"] = "test"
    found = problems(tmp_path, frame, split="part", id="person")
    assert any("the test split has class 'maybe', unseen in train, in 1 row(s): 100" in one for one in found)
    assert any("1 id(s) are in more than one split: 5 (test and train)" in one for one in found)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("rows.csv", b"", "is empty, expected a header"),
        ("rows.csv", b"age,outcome\n", "the table has no row"),
        ("rows.csv", b"age,age,outcome\n1,2,a\n", "the header has age twice"),
        ("rows.csv", b"age,,outcome\n1,2,a\n", "a column without a name"),
        ("rows.csv", b"age,outcome\n1,a\n1\n", "row 1 has 1 cell(s), expected 2"),
        ("rows.csv", b"age,outcome\n1,2,a\n1,2,b\n", "row 0 has 3 cell(s), expected 2"),
        ("rows.csv", b'age,outcome\n"1,a\n2,b\n', "row 0 has 1 cell(s), expected 2"),
        ("rows.csv", b"age,outcome\n\xff\xfe,a\n", "cannot be read as a table"),
        ("rows.parquet", b"PAR1 and nothing", "cannot be read as a table"),
        ("rows.xlsx", b"", "cannot read .xlsx, expected .csv or .parquet"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert expected in problems(tmp_path, None, name=name)[0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"numeric": ["outcome"]}, "column outcome is given two uses"),
        ({"missing_indicator": True}, "missing_indicator tells of cells that missing: refuse refuses"),
        ({"missing": "mean", "missing_value": 3}, "missing_value is the number of missing: constant"),
        ({"missing": "mode"}, "'refuse', 'mean', 'median' or 'constant'"),
    ],
)
def test_settings_that_cannot_work_together_are_refused_where_they_are_made(settings, expected):
    with pytest.raises(ValidationError) as caught:
        DataConfig.model_validate(
            {"source": "table", "path": "rows.csv", "table": {"target": "outcome", **settings}}
        )
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"source": "table", "path": "a.csv"}, 'source "table" needs table.target'),
        ({"source": "table", "table": {"target": "y"}}, "needs a path, or one for each of splits"),
        ({"source": "factory"}, 'source "factory" needs factory.target'),
        (
            {"source": "arrays", "path": "a.npz", "table": {"target": "y"}},
            'table is read by source "table" only',
        ),
        ({"source": "digits", "images": {}}, 'images is read by source "image_folder" only'),
        ({"source": "image_folder", "path": "a", "input_range": [0, 1]}, "leave input_range out"),
        (
            {"source": "arrays", "path": "a", "splits": {"train": "b"}},
            "needs a path, or one for each of splits",
        ),
        ({"source": "digits", "splits": {"train": "b"}}, "takes no path and no splits"),
    ],
)
def test_settings_of_another_source_are_refused_by_name(settings, expected):
    with pytest.raises(ValidationError) as caught:
        DataConfig.model_validate(settings)
    assert expected in str(caught.value)


def test_a_quoted_cell_may_hold_commas_and_line_ends(tmp_path):
    with (tmp_path / "rows.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "age", "outcome"])
        writer.writerows([[f'a "{n % 2}",\nb', n, n % 2] for n in range(40)])
    dataset = prepared(tmp_path, None)
    assert dataset.table.columns[-1].categories == ('a "0",\nb', 'a "1",\nb')
