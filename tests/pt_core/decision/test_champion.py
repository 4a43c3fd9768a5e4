"""The champion: what variants are judged against, whatever is wrong with it, and never a candidate itself."""

from __future__ import annotations

import pytest

from pt_core.decision.assemble import flat_metrics, judge_variant
from pt_core.decision.compare import comparison_rows
from pt_core.decision.config import GateConfig, GateRule
from pt_core.decision.rejudge import rejudge
from pt_core.decision.result import ChampionResult
from pt_core.decision.statistics import paired_drop
from pt_core.evaluation.pairs import Pairs

ACCURACY, FGSM = "accuracy/accuracy", "robustness/fgsm_0.1"
NAME = "champion digits/3"
AGAINST = GateConfig(rules=(GateRule(metric=ACCURACY, max_drop=0.02, against="champion"),), min_samples=100)


@pytest.fixture
def champion(measured):
    def make(*, problem=None, **numbers):
        found = measured(NAME, **numbers)
        return ChampionResult(
            name=NAME,
            model="digits",
            version="3",
            problem=problem,
            artifact=found.artifact,
            evaluation=found.evaluation,
            efficiency=found.efficiency,
            metrics=flat_metrics(found),
        )

    return make


@pytest.fixture
def judged(measured, champion):
    """Judge a variant that is right on some of 360 samples against a champion that is right on 340."""

    def judge(right, *, lost, config=AGAINST, problem=None, known=True):
        won = right - 340 + lost
        pairs = Pairs(
            both_right=340 - lost, only_reference_right=lost, only_variant_right=won, both_wrong=20 - won
        )
        deployed = champion(accuracy=340 / 360, problem=problem)
        if not known:
            deployed = deployed.model_copy(update={"artifact": None, "evaluation": None, "efficiency": None})
        return judge_variant(
            measured("onnx", accuracy=right / 360),
            reference=measured("torch"),
            config=config,
            drops=[paired_drop(pairs, metric=ACCURACY, against=NAME)] if known else [],
            champion=deployed.measured,
        )

    return judge


@pytest.mark.parametrize(
    ("right", "lost", "state"),
    [(350, 2, "pass"), (340, 0, "pass"), (334, 7, "insufficient"), (310, 32, "fail")],
)
def test_a_variant_is_held_to_the_champion_by_the_interval_of_its_drop(judged, right, lost, state):
    found = judged(right, lost=lost)
    (check,) = found.verdict.checks
    assert (check.state, check.against, check.method) == (state, NAME, "newcombe-tango")
    assert check.observed == pytest.approx((340 - right) / 360)
    low, high = check.interval
    assert low <= check.observed <= high
    assert (high <= 0.02, low >= 0.02) == (state == "pass", state == "fail")
    assert f"against {NAME}" in found.reason
    if state == "insufficient":
        assert "can tell a drop of" in found.reason


def test_a_champion_that_was_not_measured_passes_nobody_and_says_why(judged):
    found = judged(
        350, lost=0, known=False, problem="its files do not verify:\n  model.onnx: another SHA-256"
    )
    assert found.verdict.state == "not measured"
    assert found.reason == (
        "not measured: accuracy/accuracy of the champion is missing or not finite: its files do not verify: "
        "model.onnx: another SHA-256"
    )
    assert not found.promotable


def test_without_a_champion_its_rules_do_not_apply(measured):
    config = GateConfig(rules=(*AGAINST.rules, GateRule(metric=ACCURACY, at_least=0.5)), min_samples=1)
    found = judge_variant(measured("onnx"), reference=measured("torch"), config=config)
    assert [check.state for check in found.verdict.checks] == ["not applicable", "pass"]
    assert "1 not applicable: there is no champion" in found.reason


def test_a_star_against_the_champion_stands_for_every_point_that_was_measured(measured, champion):
    rule = GateRule(metric="robustness/fgsm_*", max_drop=0.05, against="champion", confidence="point")
    found = judge_variant(
        measured("onnx"),
        reference=measured("torch"),
        config=GateConfig(rules=(rule,), min_samples=1),
        champion=champion(epsilons=(0.02, 0.05, 0.1)).measured,
    )
    states = {check.metric: check.state for check in found.verdict.checks}
    # One point that only this run's policy asked of the variant and that the champion lacks passes nobody.
    assert states == {
        "robustness/fgsm_0.02": "pass",
        "robustness/fgsm_0.05": "pass",
        "robustness/fgsm_0.1": "pass",
        "robustness/fgsm_0.2": "not measured",
    }


@pytest.mark.parametrize(("ratio", "state"), [(0.5, "pass"), (1.02, "insufficient"), (2.0, "fail")])
def test_latency_is_compared_with_the_champion_s_of_the_same_run(measured, champion, ratio, state):
    rule = GateRule(metric="efficiency/latency_ratio", max_ratio=1.05, against="champion")
    found = judge_variant(
        measured("onnx", ratio=ratio * 0.8),
        reference=measured("torch"),
        config=GateConfig(rules=(rule,), min_samples=1),
        champion=champion(ratio=0.8).measured,
    )
    (check,) = found.verdict.checks
    assert check.observed == pytest.approx(ratio)
    assert check.state == state


def test_a_run_judged_again_keeps_its_rules_against_the_champion_it_measured(judged, run, champion):
    worse = judged(310, lost=32, config=GateConfig(preset="smoke"))
    reference = worse.model_copy(update={"name": "torch", "steps": ()})
    finished = run(reference, worse).model_copy(
        update={"champion": champion(accuracy=340 / 360), "policy": GateConfig(preset="smoke")}
    )
    again = rejudge(finished, AGAINST)
    assert [change.after for change in again.variants] == ["fail", "fail"]
    assert f"against {NAME}" in again.variants[1].reason
    without = rejudge(finished.model_copy(update={"champion": None}), AGAINST)
    assert {change.after for change in without.variants} == {"not measured"}
    assert {change.checks[0].state for change in without.variants} == {"not applicable"}


def test_the_champion_has_the_last_row_and_no_verdict(variant, run, champion):
    result = run(variant("torch"), winner="torch").model_copy(update={"champion": champion(accuracy=0.9)})
    torch, deployed = comparison_rows(result)
    assert (torch.verdict, deployed.verdict, deployed.standing) == ("pass", None, "champion")
    assert (deployed.variant, deployed.accuracy, deployed.latency_ratio) == (NAME, 0.9, 1.0)
    assert not deployed.chosen
    assert not deployed.promotable
    broken = champion(problem="nobody trusted signed it").model_copy(
        update={"artifact": None, "evaluation": None, "efficiency": None, "metrics": {}}
    )
    (_, row) = comparison_rows(result.model_copy(update={"champion": broken}))
    assert (row.accuracy, row.size_bytes, row.reason) == (None, None, "nobody trusted signed it")


# what has no interval of its own


@pytest.mark.parametrize(
    ("limit", "state"), [(0.5, "fail"), (0.99, "insufficient"), (1.01, "insufficient"), (1.1, "pass")]
)
def test_a_limit_on_milliseconds_within_the_noise_is_insufficient(measured, limit, state):
    slow = measured("onnx", ratio=1.0)
    noisy = slow.efficiency.model_copy(
        update={"judged_ratio_low": 0.98 / 1.05, "judged_ratio_high": 1.02 * 1.05}
    )
    rule = GateRule(metric="efficiency/latency_ms_p95", at_most=limit)
    found = judge_variant(
        slow.model_copy(update={"efficiency": noisy}),
        reference=measured("torch"),
        config=GateConfig(rules=(rule,), min_samples=1),
    )
    (check,) = found.verdict.checks
    assert (check.state, check.method) == (state, "noise")
    assert check.interval == pytest.approx((1 / 1.05, 1.05))


def test_a_start_that_was_not_measured_says_why(measured):
    given = measured("onnx")
    timing = given.efficiency.model_copy(update={"start_reason": "efficiency.cold_starts is off"})
    found = judge_variant(
        given.model_copy(update={"efficiency": timing}),
        reference=measured("torch"),
        config=GateConfig(rules=(GateRule(metric="efficiency/cold_start_s", at_most=9),), min_samples=1),
    )
    assert found.reason == (
        "not measured: efficiency/cold_start_s is undefined: efficiency.cold_starts is off"
    )
