"""Paired statistics against published figures, scipy's binomial test, and simulated truth."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import binomtest

from pt_core.decision.statistics import (
    detectable_drop,
    drop_interval,
    mcnemar,
    newcombe,
    paired_drop,
    tango,
    wilson,
)
from pt_core.evaluation.pairs import Pairs

USUAL = 1.959964
"""The critical value that published figures use."""


def pairs(both, lost, won, neither) -> Pairs:
    return Pairs(both_right=both, only_reference_right=lost, only_variant_right=won, both_wrong=neither)


tables = st.builds(pairs, *[st.integers(0, 3000)] * 4).filter(lambda table: table.num_samples)


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[3] / "benchmarks" / "paired_drop.py"
    spec = importlib.util.spec_from_file_location("paired_drop", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_interval_is_the_one_that_newcombe_published():
    # Newcombe 1998, Statistics in Medicine 17:2635, table II, method 10.
    low, high = newcombe(pairs(36, 12, 2, 0), critical=USUAL)
    assert (round(low, 4), round(high, 4)) == (0.0569, 0.3404)


def score(lost, won, n, drop):
    """Return Tango's score, the likeliest share of won samples under a drop found by maximising the likelihood."""

    def unlikelihood(share):
        cells = np.array([share + drop, share, 1 - 2 * share - drop])
        return -float(xlogy([lost, won, n - lost - won], np.maximum(cells, 0)).sum())

    bounds = (max(0.0, -drop), (1 - drop) / 2)
    share = minimize_scalar(unlikelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return (lost - won - n * drop) / np.sqrt(n * (2 * share + drop - drop**2))


@pytest.mark.parametrize(
    ("lost", "won", "n"), [(12, 2, 50), (2, 12, 50), (7, 7, 30), (1, 3, 400), (30, 10, 1000), (90, 8, 200)]
)
def test_the_score_at_both_ends_of_tangos_interval_is_the_critical_value(lost, won, n):
    low, high = tango(pairs(n - lost - won, lost, won, 0), critical=USUAL)
    assert score(lost, won, n, low) == pytest.approx(USUAL, rel=1e-4)
    assert score(lost, won, n, high) == pytest.approx(-USUAL, rel=1e-4)


@pytest.mark.parametrize("n", [1, 40, 5000])
def test_with_no_discordant_sample_tangos_interval_is_that_of_a_share_of_none(n):
    # The likeliest spread under a drop d is then d (1 - d): Wilson's interval of 0 of n.
    end = wilson(0, n, critical=USUAL)[1]
    assert tango(pairs(n, 0, 0, 0), critical=USUAL) == pytest.approx((-end, end))


@given(tables)
def test_the_interval_has_the_wider_end_of_both_on_each_side(table):
    low, high = drop_interval(table, critical=USUAL)
    ends = (newcombe(table, critical=USUAL), tango(table, critical=USUAL))
    assert (low, high) == (min(ends[0][0], ends[1][0]), max(ends[0][1], ends[1][1]))


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_a_share_is_scipys(shares):
    successes, n = shares
    expected = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson(successes, n, critical=USUAL) == pytest.approx((expected.low, expected.high), abs=1e-7)


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_test_of_no_difference_is_scipys_binomial_test(lost, won):
    expected = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert mcnemar(pairs(10, lost, won, 10)) == pytest.approx(expected, rel=1e-9)


@given(tables)
def test_the_drop_lies_in_its_interval_and_the_interval_in_minus_one_to_one(table):
    low, high = drop_interval(table)
    assert -1 <= low <= table.drop <= high <= 1


@given(tables)
def test_exchanging_the_two_turns_the_interval_round(table):
    turned = pairs(table.both_right, table.only_variant_right, table.only_reference_right, table.both_wrong)
    low, high = drop_interval(table)
    assert drop_interval(turned) == pytest.approx((-high, -low), abs=1e-12)


@given(tables)
def test_there_is_always_a_drop_that_can_be_detected(table):
    found = detectable_drop(table)
    assert 0 < found <= 1


def test_equal_answers_on_few_samples_do_not_prove_that_no_drop_exists():
    assert drop_interval(pairs(100, 0, 0, 0))[1] > 0.04
    assert drop_interval(pairs(10_000, 0, 0, 0))[1] < 0.0005


def test_more_samples_detect_smaller_drops():
    found = [detectable_drop(pairs(98 * n, n, n, 0)) for n in (1, 10, 100)]
    assert found == sorted(found, reverse=True)
    # Connor's formula by hand: 10,000 samples, 2 % discordant.
    assert found[-1] == pytest.approx((1.96 + 0.8416) * np.sqrt(0.02 / 10_000), rel=0.01)


def test_a_drop_that_is_called_detectable_is_detected_in_about_four_of_five_simulated_runs():
    table = pairs(930, 20, 20, 30)
    drop, discordant = detectable_drop(table), 0.04
    lost, won = (discordant + drop) / 2, (discordant - drop) / 2
    drawn = np.random.default_rng(0).multinomial(1000, [lost, won, 1 - discordant], size=2000)
    found = np.mean([mcnemar(pairs(0, int(b), int(c), 0)) <= 0.05 for b, c, _ in drawn])
    # The exact test is a little more cautious than the normal one that the formula is of.
    assert 0.7 <= found <= 0.85


def test_every_figure_of_a_drop_comes_from_its_counts():
    found = paired_drop(pairs(90, 6, 2, 2), metric="accuracy/accuracy", against="torch")
    assert found.drop == pytest.approx(0.04)
    assert (found.low, found.high) == drop_interval(found.pairs)
    assert found.p_value == pytest.approx(binomtest(2, 8).pvalue)


def test_the_interval_covers_the_truth_and_a_bad_variant_rarely_passes(benchmark):
    generator = np.random.default_rng(1)
    rows = [
        benchmark.simulate(truth, n, num_pairs=3000, generator=generator)
        for n in (100, 200, 1000, 10_000)
        for truth in benchmark.TRUTHS
    ]
    assert min(row["coverage"] for row in rows) >= 0.95
    assert max(row["wrongly_passed"] for row in rows) < 0.025
    assert all(row["mean_width"] < row["exact_mean_width"] for row in rows)
