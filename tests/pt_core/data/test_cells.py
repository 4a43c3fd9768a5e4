"""A cell means the same whatever stands beside it."""

from __future__ import annotations

import numpy as np
import pytest

from pt_core.data.cells import parse_numbers


@pytest.mark.parametrize("others", [[], [""], ["word"], [2.5], [None]])
@pytest.mark.parametrize(
    ("cell", "value"),
    [("1_000", None), ("12", 12.0), (" 1e3 ", 1000.0), ("nan", np.nan), (7, 7.0), (float("nan"), np.nan)],
)
def test_what_a_cell_says_does_not_depend_on_the_cells_beside_it(cell, value, others):
    found = parse_numbers([cell, *others])
    assert bool(found.is_text[0]) == (value is None)
    np.testing.assert_equal(found.values[0], np.nan if value is None else value)
