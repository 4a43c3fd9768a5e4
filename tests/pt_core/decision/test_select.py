import pytest
from hypothesis import given
from hypothesis import strategies as st

from pt_core.decision.config import SelectionConfig
from pt_core.decision.pareto import place
from pt_core.decision.select import select


def test_the_fastest_that_passed_is_chosen(variant):
    name, reason = select(
        [
            variant("torch"),
            variant("onnx", ratio=0.5, size=12_345),
            variant("onnx-int8", ratio=0.3, accuracy=0.9),
        ]
    )
    assert name == "onnx"
    assert reason == (
        "onnx is the fastest of the 2 that passed: latency ratio 0.5000 (0.4900 to 0.5100), 12,345 bytes; "
        "next is torch with 1.0000"
    )


def test_equal_ratios_go_to_the_smaller_payload_then_to_the_first(variant):
    assert select([variant("a", size=5), variant("b", size=4), variant("c", size=4)])[0] == "b"


def test_what_was_not_timed_comes_last_and_its_size_decides(variant):
    untimed = [variant("a", ratio=None, size=5), variant("b", ratio=None, size=4)]
    assert select([*untimed, variant("slow", ratio=9.0, size=99)])[0] == "slow"
    better = variant("c", ratio=None, size=9, accuracy=0.99)
    assert select([*untimed[1:], better]) == (
        "b",
        "b is the smallest, as none was timed, of the 2 that passed: 4 bytes",
    )
    assert select(untimed) == (
        "b",
        "b is the only one left of the 2 that passed: 4 bytes; left out: a (dominated by b)",
    )


def test_a_runner_up_within_the_noise_is_named(variant):
    _, reason = select([variant("a", ratio=0.50, spread=0.1), variant("b", ratio=0.52, spread=0.1)])
    assert reason.endswith("; next is b with 0.5200, too close to tell apart")


def test_the_only_one_that_passed_says_so(variant):
    _, reason = select([variant("a", accuracy=0.5), variant("b", ratio=0.5)])
    assert reason.startswith("b is the only one that passed: latency ratio 0.5000")


def test_nothing_is_chosen_when_nothing_passed(variant):
    failed = variant("b", state="failed", problem="it broke")
    assert select([variant("a", accuracy=0.5), failed]) == (None, "none is chosen: 1 fail, 1 not measured")
    assert select([]) == (None, "none is chosen: there are no variants")


candidates = st.lists(
    st.fixed_dictionaries(
        {
            "accuracy": st.sampled_from([None, 0.5, 0.9499, 0.95, 1.0]),
            "ratio": st.sampled_from([None, 0.1, 0.5, 1.0, 2.0]),
            "size": st.integers(1, 3),
            "state": st.sampled_from(["built", "built", "failed", "skipped"]),
        }
    ),
    max_size=6,
)


@given(candidates)
def test_only_what_passed_is_ever_chosen_and_nothing_that_passed_is_faster(variant, numbers):
    variants = [variant(f"v{i}", **given) for i, given in enumerate(numbers)]
    name, _ = select(variants)
    passed = [v for v in variants if v.verdict.state == "pass"]
    if name is None:
        assert not passed
        return
    chosen = next(v for v in variants if v.name == name)
    assert chosen in passed
    ratios = [v.efficiency.latency_ratio for v in passed if v.efficiency]
    if ratios:
        assert chosen.efficiency.latency_ratio == min(ratios)


def test_each_strategy_has_its_own_winner_and_says_by_what(variant):
    variants = [
        variant("quick", ratio=0.3, size=900, accuracy=0.96),
        variant("small", ratio=0.6, size=100, accuracy=0.96),
        variant("exact", ratio=0.9, size=800, accuracy=0.99),
    ]
    found = {
        strategy: select(variants, SelectionConfig(strategy=strategy))
        for strategy in ("latency", "throughput", "size", "accuracy")
    }
    assert {strategy: name for strategy, (name, _) in found.items()} == {
        "latency": "quick",
        "throughput": "quick",
        "size": "small",
        "accuracy": "exact",
    }
    assert found["size"][1] == (
        "small is the smallest of the 3 that passed: 100 bytes, latency ratio 0.6000 (0.5880 to 0.6120); "
        "next is exact with 800 bytes"
    )
    assert found["accuracy"][1].startswith(
        "exact is the most accurate of the 3 that passed: accuracy drop -0.0100, latency ratio 0.9000"
    )
    assert found["throughput"][1].startswith(
        "quick is the one with the highest throughput of the 3 that passed: 3.3333 samples per second"
    )


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"max_latency_ms_p95": 0.4}, "latency_ms_p95 0.5000 is above 0.4"),
        ({"max_size_bytes": 500}, "size_bytes 1,000 is above 500"),
        ({"min_throughput_samples_per_s": 3}, "throughput_samples_per_s 2.0000 is below 3"),
        ({"max_peak_memory_bytes": 2**20}, "peak_memory_bytes 3,145,728 is above 1,048,576"),
    ],
)
def test_what_is_over_budget_is_not_chosen_and_says_so(variant, budget, said):
    config = SelectionConfig(**budget)
    (placed,) = place([variant("onnx", ratio=0.5)], config)
    assert (placed.passed, placed.promotable) == (True, False)
    assert placed.over_budget == (said,)
    assert placed.reason.endswith(f"; over budget: {said}")
    assert select([variant("onnx", ratio=0.5)], config) == (
        None,
        f"none is chosen: 1 passed, left out: onnx (over budget: {said})",
    )


def test_the_best_within_budget_is_chosen(variant):
    variants = [variant("big", ratio=0.1, size=5000), variant("fits", ratio=0.5, size=500)]
    name, reason = select(variants, SelectionConfig(max_size_bytes=1000))
    assert name == "fits"
    assert reason.endswith("; left out: big (over budget: size_bytes 5,000 is above 1,000)")


def test_what_was_not_measured_is_over_budget(variant):
    (placed,) = place([variant("a", ratio=None)], SelectionConfig(max_latency_ms_p95=9))
    assert placed.over_budget == ("latency_ms_p95 was not measured",)
