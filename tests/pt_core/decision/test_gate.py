import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pt_core.decision.config import GateConfig, GateRule
from pt_core.decision.evidence import Baseline
from pt_core.decision.gate import WORST_FIRST, judge, not_measured
from pt_core.decision.numbers import drop, show
from pt_core.decision.statistics import PairedDrop

ACCURACY = "accuracy/accuracy"
RATIO = "efficiency/latency_ratio"

at_least = GateRule(metric=ACCURACY, at_least=0.95)
at_most = GateRule(metric=RATIO, at_most=1.0)
max_drop = GateRule(metric=ACCURACY, max_drop=0.01)


def verdict_on(
    *rules,
    value=None,
    metric=ACCURACY,
    reference_value=0.99,
    interval=None,
    num_samples=360,
    digest="d",
    confidence="interval",
):
    # Shares of samples and their drops always have an interval; that of these tests is as wide as the value.
    drops = {}
    if value is not None and reference_value is not None and math.isfinite(value - reference_value):
        ends = [drop(reference_value, end) for end in reversed(interval or (value, value))]
        if all(map(math.isfinite, ends)):
            drops[metric] = a_drop(drop(reference_value, value), *ends, metric=metric)
    given = interval or ((value, value) if value is not None else None)
    return judge(
        variant="onnx",
        artifact_digest=digest,
        metrics={} if value is None else {metric: value},
        reference=Baseline("torch", {} if reference_value is None else {metric: reference_value}, {}, drops),
        intervals={} if given is None else {metric: given},
        num_samples=num_samples,
        config=GateConfig(rules=rules, min_samples=100, confidence=confidence),
    )


def a_drop(value, low, high, *, metric=ACCURACY, detectable=0.004):
    return PairedDrop(
        metric=metric,
        against="torch",
        method="newcombe-tango",
        num_samples=360,
        pairs=None,
        drop=value,
        low=low,
        high=high,
        p_value=None,
        detectable_drop=detectable,
    )


# one rule at a time


@pytest.mark.parametrize(
    ("value", "state"), [(0.96, "pass"), (0.95, "pass"), (math.nextafter(0.95, 0), "fail"), (0.5, "fail")]
)
def test_a_value_at_the_least_allowed_passes_and_one_step_below_fails(value, state):
    assert verdict_on(at_least, value=value).state == state


@pytest.mark.parametrize(
    ("value", "state"), [(0.5, "pass"), (1.0, "pass"), (math.nextafter(1.0, 2), "fail"), (3.0, "fail")]
)
def test_a_value_at_the_greatest_allowed_passes_and_one_step_above_fails(value, state):
    assert verdict_on(at_most, metric=RATIO, value=value).state == state


def test_a_drop_equal_to_the_limit_passes_whatever_floating_point_makes_of_it():
    assert 0.96 - 0.95 > 0.01
    assert verdict_on(max_drop, value=0.95, reference_value=0.96).state == "pass"
    # One sample more of a million is a real drop.
    assert verdict_on(max_drop, value=0.949999, reference_value=0.96).state == "fail"


@pytest.mark.parametrize("num_samples", [100, 360, 1797, 9973])
def test_drops_of_whole_samples_are_compared_as_whole_samples(num_samples):
    for allowed in range(1, 20):
        rule = GateRule(metric=ACCURACY, max_drop=allowed / num_samples)
        for right in (num_samples, num_samples - 7):
            reference_value = right / num_samples
            for lost, state in [(allowed, "pass"), (allowed + 1, "fail")]:
                value = (right - lost) / num_samples
                found = verdict_on(rule, value=value, reference_value=reference_value)
                assert found.state == state, (right, lost, num_samples)


def test_a_gain_is_no_drop():
    assert verdict_on(GateRule(metric=ACCURACY, max_drop=0), value=0.995).state == "pass"


@pytest.mark.parametrize(
    "metric",
    [
        RATIO,
        "efficiency/latency_ms_p95",
        "efficiency/size_bytes",
        "parity/max_relative_error",
        "accuracy",
        "accuracy/ece",
    ],
)
def test_a_drop_of_what_should_be_low_is_refused_and_at_most_named(metric):
    with pytest.raises(ValueError, match=f"max_drop on {metric}: .*use at_most"):
        GateRule(metric=metric, max_drop=0.1)


@pytest.mark.parametrize("metric", [ACCURACY, "robustness/fgsm_0.1", "efficiency/throughput_samples_per_s"])
def test_a_drop_of_what_should_be_high_is_a_rule(metric):
    assert GateRule(metric=metric, max_drop=0.1).max_drop == 0.1


@pytest.mark.parametrize("num_samples", [99, 0, None])
@pytest.mark.parametrize("value", [1.0, 0.0])
@pytest.mark.parametrize("metric", [ACCURACY, "robustness/fgsm_0.1"])
def test_too_few_samples_are_insufficient_whatever_the_value(num_samples, value, metric):
    rule = GateRule(metric=metric, at_least=0.5)
    assert verdict_on(rule, metric=metric, value=value, num_samples=num_samples).state == "insufficient"


def test_a_timing_does_not_rest_on_samples():
    assert verdict_on(at_most, metric=RATIO, value=0.5, num_samples=3).state == "pass"


@pytest.mark.parametrize(
    ("interval", "state"),
    [
        ((0.8, 0.99), "pass"),
        ((0.8, 1.0), "pass"),
        ((0.8, 1.01), "insufficient"),
        ((0.9, 0.9), "pass"),
    ],
)
def test_a_limit_strictly_inside_the_interval_is_insufficient(interval, state):
    assert verdict_on(at_most, metric=RATIO, value=0.9, interval=interval).state == state


def test_a_broken_limit_inside_the_interval_is_insufficient_too_and_outside_is_a_failure():
    assert verdict_on(at_most, metric=RATIO, value=1.1, interval=(0.9, 1.2)).state == "insufficient"
    assert verdict_on(at_most, metric=RATIO, value=1.1, interval=(1.0, 1.2)).state == "fail"


def test_the_interval_of_a_drop_is_turned_around():
    found = verdict_on(max_drop, value=0.985, interval=(0.97, 0.99))
    assert found.checks[0].interval == (0.0, 0.02)
    assert found.checks[0].observed == 0.005
    assert found.state == "insufficient"


@pytest.mark.parametrize("interval", [(0.95, 1.0), (1.0, 0.8), (math.nan, 1.0), (0.0, math.inf)])
def test_an_interval_that_does_not_hold_its_value_is_not_measured(interval):
    assert verdict_on(at_most, metric=RATIO, value=0.9, interval=interval).state == "not measured"


# verdicts


def test_a_gate_without_rules_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        GateConfig(rules=())


def test_the_worst_check_decides_and_comes_first():
    found = verdict_on(GateRule(metric=RATIO, at_most=1), at_least, value=0.9388888)
    assert found.state == "fail"
    assert [check.state for check in found.checks] == ["not measured", "fail"]
    assert found.reason == (
        "fail: accuracy/accuracy 0.9389 is below 0.95, efficiency/latency_ratio is missing or not finite"
    )


def test_a_pass_tells_its_numbers():
    found = verdict_on(at_least, max_drop, value=0.98611, reference_value=0.98611)
    assert (
        found.reason
        == "pass: 2 of 2 rules hold; accuracy 0.9861 (at least 0.95), accuracy drop 0.0000 (at most 0.01)"
    )


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (verdict_on(max_drop, value=0.95), "fail: accuracy/accuracy drops by 0.0400, more than 0.01"),
        (
            verdict_on(at_most, metric=RATIO, value=1.00001),
            "fail: efficiency/latency_ratio 1.00001 is above 1",
        ),
        (
            verdict_on(at_least, value=1.0, num_samples=50),
            "insufficient: accuracy/accuracy rests on 50 samples, expected at least 100",
        ),
        (
            verdict_on(at_most, metric=RATIO, value=0.98, interval=(0.93, 1.04)),
            "insufficient: efficiency/latency_ratio is between 0.9300 and 1.0400, on both sides of 1",
        ),
        (
            verdict_on(max_drop, value=0.95, reference_value=None),
            "not measured: accuracy/accuracy of the reference is missing or not finite",
        ),
    ],
)
def test_a_reason_is_one_sentence_with_its_numbers(verdict, reason):
    assert verdict.reason == reason


def test_a_long_reason_is_cut_and_counted():
    rules = [GateRule(metric=f"accuracy/m{i}", at_least=0.5) for i in range(6)]
    assert verdict_on(*rules).reason.endswith(", and 3 more")


def test_what_was_not_built_is_not_measured_with_its_problem():
    config = GateConfig(rules=(at_least, at_most, max_drop))
    found = not_measured("onnx", "torch", "onnx: opset 9 is\n  below 13", config)
    assert found.state == "not measured"
    assert found.reason == "not measured: onnx: opset 9 is below 13"
    assert [(c.rule, c.limit, c.state) for c in found.checks] == [
        ("at_least", 0.95, "not measured"),
        ("at_most", 1.0, "not measured"),
        ("max_drop", 0.01, "not measured"),
    ]
    assert verdict_on(at_least, value=1.0, digest=None).state == "not measured"


# properties

any_float = st.floats(allow_nan=True, allow_infinity=True)
missing_or_not_finite = st.sampled_from([None, math.nan, math.inf, -math.inf])
limits = st.floats(-10, 10).map(lambda v: round(v, 3))
kinds = st.sampled_from(["at_least", "at_most", "max_drop"])
intervals = st.none() | st.tuples(any_float, any_float)
counts = st.none() | st.integers(0, 1000)


def rule_of(kind, limit, metric=ACCURACY):
    return GateRule(metric=metric, **{kind: abs(limit) if kind == "max_drop" else limit})


@given(kinds, limits, missing_or_not_finite, any_float, intervals, counts)
def test_what_is_missing_or_not_finite_never_passes(
    kind, limit, value, reference_value, interval, num_samples
):
    found = verdict_on(
        rule_of(kind, limit),
        value=value,
        reference_value=reference_value,
        interval=interval,
        num_samples=num_samples,
    )
    assert found.state == "not measured"


@given(limits, any_float, missing_or_not_finite, counts)
def test_a_drop_from_a_reference_that_is_missing_or_not_finite_never_passes(limit, value, reference_value, n):
    found = verdict_on(
        rule_of("max_drop", limit), value=value, reference_value=reference_value, num_samples=n
    )
    assert found.state == "not measured"


@given(kinds, limits, any_float, any_float, intervals, counts)
def test_whatever_the_numbers_there_is_a_verdict_that_can_be_written_down(
    kind, limit, value, reference_value, interval, num_samples
):
    found = verdict_on(
        rule_of(kind, limit),
        value=value,
        reference_value=reference_value,
        interval=interval,
        num_samples=num_samples,
    )
    assert found.reason.startswith(f"{found.state}: ")
    assert "\n" not in found.reason
    assert type(found).from_json(found.to_json()) == found


@given(
    kinds, limits, st.floats(0, 5), st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 3), st.floats(0, 3)
)
def test_tightening_a_limit_never_turns_anything_into_a_pass(
    kind, limit, tighter_by, value, reference_value, below, above
):
    loose = rule_of(kind, limit)
    wanted = limit + tighter_by if kind == "at_least" else limit - tighter_by
    tight = rule_of(kind, wanted) if kind != "max_drop" else rule_of(kind, max(0.0, abs(limit) - tighter_by))
    interval = (value - below, value + above)
    states = [
        verdict_on(rule, value=value, reference_value=reference_value, interval=interval).state
        for rule in (loose, tight)
    ]
    if states[1] == "pass":
        assert states[0] == "pass"
    if states[0] == "fail":
        assert states[1] == "fail"


@given(st.lists(st.tuples(kinds, limits), min_size=1, max_size=5), st.floats(-10, 10), st.floats(-10, 10))
def test_a_verdict_passes_only_if_every_rule_passes_alone(rules, value, reference_value):
    made = [rule_of(kind, limit) for kind, limit in rules]
    together = verdict_on(*made, value=value, reference_value=reference_value).state
    alone = [verdict_on(rule, value=value, reference_value=reference_value).state for rule in made]
    assert together == min(alone, key=WORST_FIRST.index)
    assert (together == "pass") == all(state == "pass" for state in alone)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_number_shown_beside_another_reads_as_equal_only_if_it_is(value, limit):
    shown = float(show(value, beside=limit).replace(",", ""))
    assert (shown == limit) <= (value == limit)


def test_no_drop_is_shown_as_minus_zero():
    assert math.copysign(1, drop(0.5, 0.5 + 1e-14)) == 1
