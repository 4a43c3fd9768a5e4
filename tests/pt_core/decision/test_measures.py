"""Rules on slices, thresholds and the user's own metrics, from an evaluation to the verdict."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pt_core.decision.assemble import judge_variant
from pt_core.decision.config import GateConfig, GateRule
from pt_core.evaluation.report import Undefined
from pt_core.evaluation.scores import CustomScore, SliceScores, ThresholdScores

SLICES = (
    SliceScores(slice="age", value="young", num_samples=900, accuracy=0.99, recall_macro=0.98),
    SliceScores(slice="age", value="old", num_samples=300, accuracy=0.7, recall_macro=0.6),
    SliceScores(slice="age", value="unknown", num_samples=3, accuracy=None, recall_macro=None),
)
TOO_SMALL = tuple(
    Undefined(metric=f"slices/age=unknown/{name}", reason="3 samples, expected at least 30")
    for name in ("accuracy", "recall_macro")
)
AT = ThresholdScores(
    threshold=0.3, true_positives=480, false_positives=0, false_negatives=20, true_negatives=0
)


@pytest.fixture
def judged(measured):
    def judge(*rules):
        variant = measured("v")
        evaluation = variant.evaluation.model_copy(
            update={
                "slices": SLICES,
                "undefined": (*TOO_SMALL, Undefined(metric="custom/no", reason="own:no raised OSError")),
                "custom": (
                    CustomScore(function="own:cost", value=0.2),
                    CustomScore(function="own:no", value=None),
                ),
                "accuracy": variant.evaluation.accuracy.model_copy(update={"thresholds": (AT,)}),
            }
        )
        variant = variant.model_copy(update={"evaluation": evaluation})
        config = GateConfig(rules=tuple(GateRule.model_validate(rule) for rule in rules))
        return judge_variant(variant, reference=variant, config=config).verdict

    return judge


def test_a_limit_on_slices_holds_for_each_of_them(judged):
    verdict = judged({"metric": "slices/*/accuracy", "at_least": 0.9})
    assert [(check.metric, check.state) for check in verdict.checks] == [
        ("slices/age=old/accuracy", "fail"),
        ("slices/age=unknown/accuracy", "insufficient"),
        ("slices/age=young/accuracy", "pass"),
    ]
    assert verdict.checks[0].interval[0] < 0.7 < verdict.checks[0].interval[1]


def test_a_slice_that_is_too_small_keeps_a_star_from_passing_and_says_why(judged):
    verdict = judged({"metric": "slices/*/accuracy", "at_least": 0.1})
    assert verdict.state == "insufficient"
    assert "slices/age=unknown/accuracy is undefined: 3 samples, expected at least 30" in verdict.reason


def test_of_what_has_no_value_the_verdict_says_why(judged):
    reason = judged({"metric": "custom/no", "at_most": 9}).reason
    assert reason == "not measured: custom/no is undefined: own:no raised OSError"


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        ({"metric": "slices/age=unknown/accuracy", "at_least": 0.1}, "insufficient"),
        ({"metric": "slices/age=old/recall_macro", "at_least": 0.5}, "pass"),
        ({"metric": "custom/cost", "at_most": 0.25}, "pass"),
        ({"metric": "custom/cost", "at_least": 0.25}, "fail"),
        ({"metric": "custom/cost", "max_drop": 0.1}, "pass"),
        ({"metric": "custom/cost", "max_ratio": 1.1}, "pass"),
        ({"metric": "custom/no", "at_most": 9}, "not measured"),
        ({"metric": "accuracy/recall_at_0.3", "at_least": 0.9}, "pass"),
        ({"metric": "accuracy/recall_at_0.3", "at_least": 0.97}, "insufficient"),
        ({"metric": "accuracy/precision_at_0.3", "max_drop": 0.1}, "pass"),
        ({"metric": "accuracy/specificity_at_0.3", "at_least": 0.1}, "not measured"),
    ],
)
def test_a_rule_on_what_the_user_asked_for_is_judged_like_any_other(judged, rule, state):
    assert judged(rule).state == state


def test_of_the_best_throughput_a_rise_is_no_drop():
    rule = {"metric": "efficiency/best_throughput_samples_per_s", "max_ratio": 1.1}
    with pytest.raises(ValidationError, match="lower is better"):
        GateRule.model_validate(rule)


@pytest.mark.parametrize(("limit", "state"), [(1.0, "fail"), (1.12, "insufficient"), (1.4, "pass")])
def test_a_limit_inside_the_interval_widened_by_the_noise_is_insufficient(measured, limit, state):
    variant = measured("v", ratio=1.2, spread=0.01)
    update = {"judged_ratio_low": 1.1, "judged_ratio_high": 1.3}
    timing = variant.efficiency.model_copy(update=update)
    variant = variant.model_copy(update={"efficiency": timing})
    config = GateConfig(rules=(GateRule(metric="efficiency/latency_ratio", at_most=limit),))
    assert judge_variant(variant, reference=variant, config=config).verdict.state == state
