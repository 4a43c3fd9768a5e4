import numpy as np
import pytest

from pt_core.evaluation.attacks.bounds import Bounds
from pt_core.evaluation.attacks.noise import MISSING_SHARES, gaussian_noise, missing_values

UNBOUNDED = Bounds(np.ones(1, np.float32), None)


def test_noise_of_all_strengths_is_one_draw_scaled():
    x = np.full((50, 6), 0.5, np.float32)
    weak, strong = gaussian_noise(x, sigmas=[0.1, 0.2], bounds=UNBOUNDED, generator=np.random.default_rng(3))
    assert strong - x == pytest.approx(2 * (weak - x), abs=1e-6)


def test_each_column_of_a_table_has_noise_in_units_of_its_own_deviation():
    scale = np.array([1, 10, 0.1, 2, 100, 5], dtype=np.float32)
    (noisy,) = gaussian_noise(
        np.zeros((20_000, 6), np.float32),
        sigmas=[0.5],
        bounds=Bounds(scale, None),
        generator=np.random.default_rng(0),
    )
    assert noisy.std(axis=0) == pytest.approx(0.5 * scale, rel=0.03)


def test_missing_values_are_the_replacement_of_their_column_and_grow_with_severity():
    x = np.full((2000, 3), 9, np.float32)
    means = np.array([1, 2, 3], np.float32)
    found = missing_values(x, severities=range(1, 6), replacement=means, generator=np.random.default_rng(0))
    before = np.zeros_like(x, dtype=bool)
    for share, table in zip(MISSING_SHARES, found, strict=True):
        missing = table != 9
        assert missing.mean() == pytest.approx(share, abs=0.02)
        assert np.array_equal(table[missing], np.broadcast_to(means, x.shape)[missing])
        assert (missing >= before).all(), "what is missing at one severity is missing at the next"
        assert table.dtype == np.float32
        before = missing
