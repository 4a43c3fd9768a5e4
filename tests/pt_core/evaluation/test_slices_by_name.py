"""A slice may name a column of the raw table; its categories are those of the rows, however they were encoded."""

from __future__ import annotations

import numpy as np
import pytest

from pt_core.data.dataset import DatasetInfo, Samples
from pt_core.data.encode import encode_cells
from pt_core.data.encoding import ColumnEncoding, TableEncoding
from pt_core.errors import ConfigError
from pt_core.evaluation.config import EvaluationConfig, SliceConfig
from pt_core.evaluation.measures import check_measures
from pt_core.evaluation.slices import part

CELLS = {
    "age": [20, 35, None, 50, 41, 20],
    "colour": ["red", "blue", "red", "", "mauve", "blue"],
}


def table_of(encoder):
    return TableEncoding(
        columns=(
            ColumnEncoding(name="age", kind="numeric", fill=40.0, indicator=True),
            ColumnEncoding(
                name="colour", kind="categorical", categories=("", "blue", "red"), encoder=encoder
            ),
        )
    )


def rows_by_value(column, encoder="one-hot", **settings):
    table = table_of(encoder)
    x = encode_cells(CELLS, table, where="here").samples
    samples = Samples(x, np.zeros(6, np.int64), np.arange(6))
    found = part([SliceConfig(name="s", column=column, **settings)], samples, table=table)
    return {one.value: one.rows.tolist() for one in found}


@pytest.mark.parametrize("encoder", ["one-hot", "ordinal"])
def test_rows_are_parted_by_their_category(encoder):
    expected = {"blue": [1, 5], "missing": [3], "red": [0, 2], "unseen": [4]}
    assert rows_by_value("colour", encoder) == expected


def test_rows_are_parted_by_ranges_of_a_named_number_as_it_was_filled():
    assert rows_by_value("age", edges=(30.0, 40.0)) == {
        "below_30": [0, 5],
        "30_to_40": [1],
        "from_40": [2, 3, 4],
    }


def test_edges_of_categories_are_refused():
    with pytest.raises(ConfigError, match="column colour holds categories; leave edges out"):
        rows_by_value("colour", edges=(1.0,))


def test_a_column_that_is_not_there_is_refused_before_training_with_those_that_are():
    config = EvaluationConfig(slices=(SliceConfig(name="s", column="color"),))
    info = DatasetInfo(
        source="table", fingerprint="", labels=("a", "b"), input_shape=(5,), input_range=None,
        mean=(0.0,) * 5, std=(1.0,) * 5, splits=(), table=table_of("one-hot"),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="s parts by column 'color', expected one of age, colour"):
        check_measures(config, info)
    with pytest.raises(ConfigError, match="these samples have no named columns"):
        check_measures(config, info.model_copy(update={"table": None}))
