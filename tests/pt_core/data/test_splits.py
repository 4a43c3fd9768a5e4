"""Splits are disjoint, complete, stratified and a function of their seed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pt_core.data.config import SPLITS, DataConfig
from pt_core.data.splits import split_ids, split_sizes

fractions = st.floats(0.01, 0.3)


def split(y, *, config=None, seed=0):
    return split_ids(np.asarray(y), config=config or DataConfig(), seed=seed)


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(4, 60), min_size=2, max_size=6),
    held_out=st.tuples(fractions, fractions, fractions),
    seed=st.integers(0, 2**31),
)
def test_every_id_is_in_one_split_and_every_class_in_every_split(counts, held_out, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    config = DataConfig(
        validation_fraction=held_out[0], calibration_fraction=held_out[1], test_fraction=held_out[2]
    )
    parts = split(y, config=config, seed=seed)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(y)))
    assert all(set(y[parts[name]]) == set(range(len(counts))) for name in SPLITS)


def test_shares_of_each_class_are_those_asked_for():
    y = np.repeat([0, 1, 2], [1000, 500, 100])
    parts = split(y)
    for name, share in [("train", 0.6), ("validation", 0.1), ("calibration", 0.1), ("test", 0.2)]:
        np.testing.assert_array_equal(np.bincount(y[parts[name]]), np.array([1000, 500, 100]) * share)


def test_sizes_of_a_tiny_class_by_hand():
    assert split_sizes(4, DataConfig(test_fraction=0.7)) == {
        "train": 1,
        "validation": 1,
        "calibration": 1,
        "test": 1,
    }


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    y = np.arange(200) % 4
    first, again, other = split(y, seed=1), split(y, seed=1), split(y, seed=2)
    assert all(np.array_equal(first[name], again[name]) for name in SPLITS)
    assert set(first["test"]) != set(other["test"])


def test_a_split_is_drawn_from_the_whole_of_each_class():
    test = split(np.repeat([0, 1], 500))["test"]
    # 100 of 500 rows of each class, drawn evenly: their mean is row 250 with a deviation of 13.
    assert abs(np.mean(test % 500) - 249.5) < 60


def test_the_first_samples_of_a_split_are_of_several_classes():
    assert len(set(np.repeat(np.arange(5), 100)[split(np.repeat(np.arange(5), 100))["calibration"][:20]])) > 3
