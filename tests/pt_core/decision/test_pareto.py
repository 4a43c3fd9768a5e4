"""Dominance against a plain definition: no better in anything, and worse in something beyond the noise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pt_core.decision.config import SelectionConfig
from pt_core.decision.pareto import dominates, is_slower, place

NO_BUDGET = SelectionConfig()


def standing(variants):
    return {v.name: v.dominated_by for v in place(variants, NO_BUDGET)}


def test_a_variant_that_is_worse_in_everything_is_dominated_and_cannot_be_promoted(variant):
    good, bad = (
        variant("good", ratio=0.5, size=10, accuracy=0.98),
        variant("bad", ratio=0.9, size=20, accuracy=0.97),
    )
    placed = place([bad, good], NO_BUDGET)
    assert [v.dominated_by for v in placed] == ["good", None]
    assert [v.promotable for v in placed] == [False, True]
    assert [v.on_front for v in placed] == [False, True]
    assert placed[0].reason.endswith("; dominated by good")


def test_being_better_in_one_thing_is_enough(variant):
    reference = variant("reference", ratio=1.0, size=10)
    for better in ({"ratio": 0.5}, {"size": 9}, {"accuracy": 0.99}):
        worse_elsewhere = {"ratio": 2.0, "size": 20, "accuracy": 0.96, **better}
        assert standing([reference, variant("other", **worse_elsewhere)])["other"] is None


def test_equals_do_not_dominate_each_other(variant):
    assert standing([variant("a"), variant("b")]) == {"a": None, "b": None}


def test_times_whose_intervals_overlap_are_equal(variant):
    fast, slow = (
        variant("fast", ratio=0.50, spread=0.1, size=11),
        variant("slow", ratio=0.55, spread=0.1, size=10),
    )
    assert standing([fast, slow]) == {"fast": "slow", "slow": None}


def test_times_within_the_noise_of_the_reference_are_equal(variant):
    # The reference against itself strays up to 1 / 0.98, so that 1 % apart means nothing however narrow.
    one, other = variant("one", ratio=0.500, spread=0.001), variant("other", ratio=0.505, spread=0.001)
    assert one.efficiency.latency_ratio_high < other.efficiency.latency_ratio_low
    assert not is_slower(other, one)
    assert is_slower(variant("far", ratio=0.53, spread=0.001), one)


def test_only_what_passed_dominates(variant):
    failed = variant("failed", ratio=0.1, size=1, accuracy=0.94)
    assert failed.verdict.state == "fail"
    cheaper = variant("passed", ratio=0.5, accuracy=0.95)
    assert standing([failed, cheaper]) == {"failed": None, "passed": None}


def test_what_is_over_budget_dominates_nothing(variant):
    hungry, modest = variant("hungry", ratio=0.1, size=900), variant("modest", ratio=0.5, size=1000)
    assert standing([hungry, modest])["modest"] == "hungry"
    placed = place([hungry, modest], SelectionConfig(max_latency_ms_p95=0.01))
    assert [v.dominated_by for v in placed] == [None, None]


def test_what_was_not_timed_is_slower_than_what_was(variant):
    assert standing([variant("timed", ratio=9.0), variant("untimed", ratio=None)]) == {
        "timed": None,
        "untimed": "timed",
    }


numbers = st.fixed_dictionaries(
    {
        "accuracy": st.sampled_from([0.95, 0.97, 0.99]),
        "ratio": st.sampled_from([None, 0.5, 0.51, 0.52, 0.6, 1.0]),
        "size": st.integers(1, 3),
        "spread": st.sampled_from([0.001, 0.02, 0.1]),
    }
)


@given(st.lists(numbers, min_size=1, max_size=6))
def test_something_is_always_left_and_nothing_left_is_beaten(variant, given):
    placed = place([variant(f"v{i}", **one) for i, one in enumerate(given)], NO_BUDGET)
    left = [v for v in placed if v.promotable]
    assert left
    assert not any(dominates(one, other) for one in placed for other in left if one is not other)
    for v in placed:
        if v.dominated_by:
            assert dominates(next(w for w in placed if w.name == v.dominated_by), v)
