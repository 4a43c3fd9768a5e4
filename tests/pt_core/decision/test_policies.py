"""Policies: what a preset says, what a rule may be, and a run judged again."""

from __future__ import annotations

import pytest

from pt_core.decision.assemble import judge_variant
from pt_core.decision.config import GateConfig, GateRule
from pt_core.decision.pareto import place
from pt_core.decision.presets import PRESETS
from pt_core.decision.rejudge import rejudge
from pt_core.decision.select import select
from pt_core.decision.statistics import paired_drop
from pt_core.errors import ConfigError
from pt_core.evaluation.pairs import Pairs

ACCURACY = "accuracy/accuracy"


def said(config):
    """Return a policy's rules as short tuples."""
    found = []
    for rule in config.rules:
        (limit,) = (
            n for n in ("at_least", "at_most", "max_drop", "max_ratio") if getattr(rule, n) is not None
        )
        found.append(
            (rule.metric, limit, getattr(rule, limit), rule.against, rule.confidence or config.confidence)
        )
    return found


def test_the_presets_say_what_is_documented():
    assert said(GateConfig(preset="strict")) == [
        (ACCURACY, "at_least", 0.95, "reference", "interval"),
        (ACCURACY, "max_drop", 0.01, "reference", "interval"),
        (ACCURACY, "max_drop", 0.01, "champion", "interval"),
        ("robustness/fgsm_*", "max_drop", 0.03, "reference", "interval"),
        ("robustness/gaussian-noise_*", "max_drop", 0.03, "reference", "interval"),
        ("efficiency/latency_ratio", "at_most", 1.1, "reference", "interval"),
    ]
    assert said(GateConfig(preset="balanced")) == [
        (ACCURACY, "at_least", 0.9, "reference", "point"),
        (ACCURACY, "max_drop", 0.02, "reference", "interval"),
        (ACCURACY, "max_drop", 0.02, "champion", "interval"),
    ]
    assert said(GateConfig(preset="smoke")) == [
        (ACCURACY, "at_least", 0.5, "reference", "point"),
        (ACCURACY, "max_drop", 0.1, "reference", "point"),
    ]
    assert [GateConfig(preset=name).min_samples for name in PRESETS] == [1000, 100, 1]


def test_balanced_stands_where_no_rules_are_given():
    assert GateConfig() == GateConfig(preset="balanced") == GateConfig.model_validate("balanced")
    assert GateConfig(min_samples=7).rules == GateConfig(preset="balanced").rules


def test_what_is_given_beside_a_preset_replaces_it():
    found = GateConfig(preset="strict", min_samples=5)
    assert (found.min_samples, found.rules) == (5, GateConfig(preset="strict").rules)
    rules = (GateRule(metric=ACCURACY, at_least=0.7),)
    assert GateConfig(rules=rules).preset is None
    assert GateConfig(preset="strict", rules=rules).rules == rules


def test_a_policy_survives_being_written_down():
    for name in PRESETS:
        config = GateConfig(preset=name)
        assert GateConfig.from_json(config.to_json()) == config


def test_a_champion_called_like_the_reference_is_refused(measured):
    reference, variant = measured("torch"), measured("onnx")
    with pytest.raises(ConfigError, match="torch is the name of the reference too"):
        judge_variant(variant, reference=reference, config=GateConfig(), champion=measured("torch"))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"metric": ACCURACY, "at_least": 0.9, "against": "champion"},
            "at_least on accuracy/accuracy: compares",
        ),
        ({"metric": ACCURACY, "max_ratio": 1.1}, "max_ratio on accuracy/accuracy: .*use max_drop"),
        ({"metric": "accuracy/*", "at_least": 0.9}, "a star there would mix"),
        ({"metric": "efficiency/*", "at_most": 0.9}, "a star there would mix"),
        ({"metric": "*/accuracy", "at_least": 0.9}, "name the section"),
        ({"metric": "r*/fgsm_0.1", "at_least": 0.9}, "name the section"),
        ({"metric": "*", "at_least": 0.9}, "name the section"),
        ({"metric": "slices/age=old/ece", "max_drop": 0.9}, "use at_most or max_ratio"),
    ],
)
def test_a_rule_that_cannot_mean_anything_is_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        GateRule(**rule)


@pytest.mark.parametrize(
    "rule",
    [
        {"metric": "slices/age=old/accuracy", "at_least": 0.9},
        {"metric": "slices/*/f1_macro", "max_drop": 0.1, "against": "champion"},
        {"metric": "robustness/*", "max_drop": 0.1},
        {"metric": "efficiency/size_bytes", "max_ratio": 0.5, "against": "champion"},
        {"metric": "accuracy/ece", "max_ratio": 1.5},
        {"metric": "quantization/weight_share", "at_least": 0.5},
        {"metric": "slices/*/num_samples", "at_least": 30},
        {"metric": "efficiency/throughput_samples_per_s", "at_least": 30},
    ],
)
def test_rules_on_slices_points_and_ratios_are_taken(rule):
    assert GateRule(**rule).metric == rule["metric"]


def test_drops_from_the_champion_and_from_the_reference_are_kept_apart(measured):
    drops = [
        paired_drop(lost(n, right=right), metric=ACCURACY, against=name)
        for name, n, right in [("torch", 0, 328), ("champion", 24, 352)]
    ]
    found = judge_variant(
        measured("onnx", accuracy=328 / 360),
        reference=measured("torch", accuracy=328 / 360),
        config=GateConfig(preset="balanced"),
        drops=drops,
        champion=measured("champion", accuracy=352 / 360),
    )
    assert [(c.against, c.state) for c in found.verdict.checks] == [
        (None, "pass"),
        ("torch", "pass"),
        ("champion", "fail"),
    ]


# a run judged again


def lost(n, num=360, right=352):
    return Pairs(both_right=right - n, only_reference_right=n, only_variant_right=0, both_wrong=num - right)


@pytest.fixture(scope="module")
def finished(measured, run):
    """A run of three variants under the balanced policy, of which the second loses 12 answers of 360."""
    policy = GateConfig(preset="balanced")
    reference = measured("torch", accuracy=352 / 360)
    given = [
        (reference, 0),
        (measured("onnx", accuracy=340 / 360, ratio=0.3), 12),
        (measured("int8", accuracy=352 / 360, ratio=0.6), 0),
    ]
    judged = [
        judge_variant(
            v,
            reference=reference,
            config=policy,
            drops=(paired_drop(lost(n), metric=ACCURACY, against="torch"),),
        )
        for v, n in given
    ]
    placed = place(judged, policy.selection)
    winner, _ = select(judged, policy.selection)
    return run(*placed, winner=winner).model_copy(update={"policy": policy})


def test_the_policy_of_the_run_changes_nothing(finished):
    found = rejudge(finished, finished.policy)
    assert not any(change.changed for change in found.variants)
    assert found.winner == found.winner_before == "int8"
    assert found.sentence.startswith("nothing would change; int8 is the only one left of the 2 that passed")


def test_a_looser_policy_lets_the_faster_one_pass(finished):
    found = rejudge(finished, GateConfig(preset="smoke"))
    assert [(c.variant, c.before, c.after) for c in found.variants] == [
        ("torch", "dominated", "dominated"),
        ("onnx", "insufficient", "pass"),
        ("int8", "pass", "pass"),
    ]
    assert found.sentence.startswith(
        "1 of 3 variants would change and the winner changes from int8 to onnx; onnx is the fastest of the 2"
    )


def test_a_tighter_policy_leaves_nobody(finished):
    found = rejudge(finished, GateConfig(preset="strict"))
    assert found.winner is None
    assert {change.after for change in found.variants} <= {"insufficient", "fail", "not measured"}
    assert "rests on 360 samples, expected at least 1000" in found.variants[0].reason
