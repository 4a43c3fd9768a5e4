"""Every defect of the samples is found, counted and placed, all in one error."""

from __future__ import annotations

import numpy as np
import pytest

from pt_core.data.assemble import assemble
from pt_core.data.config import DataConfig
from pt_core.data.source import RawData
from pt_core.errors import DataError


def table(num_rows=30, num_classes=3):
    generator = np.random.default_rng(0)
    return generator.normal(size=(num_rows, 4)), np.arange(num_rows) % num_classes


def check(raw, **settings):
    return assemble(raw, config=DataConfig(**settings), seed=0)


def problems(x, y, *, labels=None, input_range=None):
    with pytest.raises(DataError) as caught:
        check(RawData(x, y, labels, input_range))
    return caught.value.details


def test_good_samples_pass_as_they_are():
    x, y = table()
    data = check(RawData(x, y.astype(np.uint8), None, None))
    assert (data.y.dtype, data.labels) == (np.int64, ("0", "1", "2"))
    np.testing.assert_array_equal(data.x[:], x)


@pytest.mark.parametrize("dtype", [np.float32, bool])
def test_whole_labels_of_another_type_are_accepted(dtype):
    x, y = table(num_classes=2)
    np.testing.assert_array_equal(check(RawData(x, y.astype(dtype), None, None)).y, y)


def test_nan_and_infinity_are_counted_and_placed():
    x, y = table()
    x[7, 1] = np.nan
    x[7, 2] = -np.inf
    x[21, 0] = np.inf
    assert problems(x, y) == ("x has 3 NaN or infinite value(s) in 2 row(s): 7, 21",)


def test_a_number_too_great_for_float32_counts_as_infinite():
    x, y = table()
    x[3, 0] = 1e39
    assert "1 NaN or infinite" in problems(x, y)[0]


def test_only_the_first_rows_are_listed():
    x, y = table()
    x[10:20, 0] = np.nan
    assert problems(x, y)[0].endswith("10 row(s): 10, 11, 12, 13, 14, ...")


def test_a_value_outside_the_input_range_is_shown():
    x, y = table()
    x = np.clip(x, 0, 1)
    x[5, 0] = 255
    (problem,) = problems(x, y, input_range=(0.0, 1.0))
    assert "1 value(s) outside input_range (0.0, 1.0) (e.g. 255) in 1 row(s): 5" in problem


def test_bounds_of_the_input_range_are_inside_it():
    x, y = table()
    check(RawData(np.where(x > 0, 0.1, 0.7), y, None, (0.1, 0.7)))


@pytest.mark.parametrize(
    ("break_labels", "expected"),
    [
        (lambda y: np.where(np.arange(30) == 4, -1, y), "1 negative label(s) in 1 row(s): 4"),
        (
            lambda y: np.where(np.arange(30) == 4, 1.5, y),
            "no whole number below 2,147,483,648 in 1 row(s): 4",
        ),
        (lambda y: np.where(np.arange(30) == 4, np.nan, y), "no whole number"),
        (lambda y: np.where(np.arange(30) == 4, 1e300, y), "no whole number"),
        (lambda y: np.where(y == 1, 3, y), "3 classes but labels up to 3; none has class 1"),
        (lambda y: y * 0, "y has only class 0"),
        (lambda y: np.array(["a", "b"])[y % 2], "y has dtype <U1"),
        (lambda y: y[:, np.newaxis], "y has shape (30, 1), expected (N,)"),
        (lambda y: y[:29], "x has 30 rows and y has 29"),
        (
            lambda y: np.where((y == 2) & (np.arange(30) > 10), 0, y),
            "class 2 has 3 sample(s), expected at least 4",
        ),
    ],
)
def test_a_wrong_label_is_named(break_labels, expected):
    x, y = table()
    assert any(expected in problem for problem in problems(x, break_labels(y)))


def test_one_stray_label_of_a_billion_does_not_fill_the_memory():
    x, y = table()
    y[0] = 10**9
    assert any("none has class 3, 4, 5, 6, 7" in problem for problem in problems(x, y))


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.zeros((30, 8, 8)), "add the channel axis: x.reshape(30, 1, 8, 8)"),
        (np.zeros(30), "x has shape (30,)"),
        (np.zeros((30, 0)), "no empty axis"),
        (np.full((30, 2), "1.0"), "x has dtype <U3, expected numbers"),
        (np.full((30, 2), 1j), "x has dtype complex128"),
        (np.full((30, 2), 2**24 + 1), "float32 cannot hold exactly"),
        (
            np.zeros((30, 32, 24, 3)),
            "is (N, H, W, C), expected (N, C, H, W); move the channels with x.transpose(0, 3, 1, 2)",
        ),
    ],
)
def test_a_wrong_array_of_samples_is_described(x, expected):
    assert expected in problems(x, np.arange(30) % 3)[0]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (
            ("a", "b"),
            "10 label(s) up to 2 in 10 row(s): 2, 5, 8, 11, 14, ..., out of the range of the 2 name(s)",
        ),
        (("a", "b", "c", "d"), "y has 3 classes but labels has 4 name(s); none has class 'd'"),
        (("a", "b", "a"), "a more than once"),
        (("a", "b", " "), "empty name"),
    ],
)
def test_names_that_do_not_fit_the_classes_are_refused(labels, expected):
    assert expected in problems(*table(), labels=labels)[0]


def test_all_problems_are_listed_together():
    x, y = table()
    x[0, 0] = np.nan
    x[1, 0] = 9.0
    y[2] = -5
    assert len(problems(x, y[:-1], input_range=(-5.0, 5.0))) == 4


def parted(ids, split, y=None):
    """Return rows with ids and given splits."""
    x, classes = table(len(ids), 2)
    return RawData(x, classes if y is None else y, None, None, ids=np.array(ids), split=np.array(split))


def test_splits_drawn_from_too_few_ids_of_given_rows_are_refused():
    # Class 0 has 20 training rows and one id; two splits are still to be drawn.
    raw = parted([number % 2 for number in range(40)] + list(range(50, 60)), ["train"] * 40 + ["test"] * 10)
    with pytest.raises(DataError) as caught:
        check(raw)
    assert caught.value.details == tuple(
        f"train: class '{name}' has 1 id(s), expected at least 3 (one for train and each split that is drawn from it)"
        for name in (0, 1)
    )
    enough = parted(
        [number % 6 for number in range(40)] + list(range(50, 60)), ["train"] * 40 + ["test"] * 10
    )
    assert all(len(rows) for rows in check(enough).splits.values())


def test_leaks_and_unknown_splits_are_listed_beside_wrong_labels():
    split = ["train"] * 20 + ["test"] * 9 + ["exam"]
    raw = parted([*range(29), 3], split, y=np.arange(30) % 2 - 1)._replace(
        names=[f"{n}.png" for n in range(30)]
    )
    with pytest.raises(DataError) as caught:
        check(raw)
    labels, unknown, leak = caught.value.details
    assert "negative label(s)" in labels
    assert "the split is 'exam' in 1 row(s): 29" in unknown
    assert leak.startswith(
        "1 id(s) are in more than one split: 29.png (exam) and 3.png (train); what is tested"
    )


@pytest.mark.parametrize("shape", [(3, 32, 32), (16, 4, 4), (1, 8, 3), (12, 100, 1), (8, 8, 8)])
def test_images_with_their_channels_first_are_taken_as_they_are(shape):
    check(RawData(np.zeros((30, *shape), np.float32), np.arange(30) % 3, None, None))
