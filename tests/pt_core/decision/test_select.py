from hypothesis import given
from hypothesis import strategies as st

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
    name, reason = select(untimed)
    assert (name, reason) == ("b", "b is the smallest that passed, 4 bytes; none of the 2 was timed")


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
