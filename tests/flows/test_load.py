"""A bad configuration is refused in one line that names the path, the expectation and the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.load import CONFIGS, find_config, load_config
from pt_core.errors import ConfigError

MINIMAL = "name: t\nvariants: [{name: torch, steps: []}]\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "pipeline.yaml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text), overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_every_shipped_configuration_is_valid() -> None:
    paths = sorted(CONFIGS.glob("*.yaml"))
    assert len(paths) > 0
    for path in paths:
        assert load_config(path).variants


def test_a_misspelt_setting_names_the_nearest_one(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "train: {epoch: 3}\n")
    assert message == "pipeline.yaml: train.epoch: unknown setting; did you mean epochs?"


def test_a_wrong_type_says_what_was_expected_and_found(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "train: {epochs: many}\n")
    assert "train.epochs: expected a valid integer" in message
    assert "found 'many'" in message
    assert "\n" not in message


def test_an_out_of_range_value_names_its_limit(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "train: {epochs: 0}\n")
    assert message == "pipeline.yaml: train.epochs: expected greater than or equal to 1, found 0"


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    assert "train.learning_rate" in refusal(tmp_path, MINIMAL + "train: {learning_rate: .nan}\n")


def test_a_wrong_choice_names_the_nearest_one(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "train: {device: cdua}\n")
    assert "expected 'auto', 'cpu', 'cuda' or 'mps', found 'cdua'; did you mean cuda?" in message


def test_what_only_follows_from_another_problem_is_left_out(tmp_path: Path) -> None:
    message = refusal(tmp_path, "name: t\nvariants: [{name: torch, stepps: []}]\n")
    assert message == "pipeline.yaml: variants[0].stepps: unknown setting; did you mean steps?"


def test_a_duplicate_key_is_an_error_with_its_line(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "train: {}\nseed: 1\ntrain: {}\n")
    assert ":5: not valid YAML: duplicate key 'train'" in message


def test_several_problems_are_listed_together(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "sed: 1\ntrain: {epochs: 0, batch_size: 1}\n")
    assert "3 problems" in message
    assert "did you mean seed?" in message
    assert "train.batch_size" in message


def test_a_gate_rule_on_an_unknown_metric_is_refused_before_any_work(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "gate: {rules: [{metric: robustness/fgsm_0.3, at_least: 0.5}]}\n")
    assert "no metric 'robustness/fgsm_0.3'" in message
    assert "robustness/fgsm_0.05" in message


def test_a_gate_rule_has_exactly_one_limit(tmp_path: Path) -> None:
    rule = "{metric: accuracy/accuracy, at_least: 0.5, max_drop: 0.1}"
    message = refusal(tmp_path, MINIMAL + f"gate: {{rules: [{rule}]}}\n")
    assert (
        "gate.rules[0]: expected exactly one of at_least, at_most, max_drop, max_ratio; found at_least, max_drop"
        in message
    )


@pytest.mark.parametrize("metric", ["accuracy/num_samples", "efficiency/num_rounds"])
def test_a_gate_rule_on_a_count_that_is_no_metric_is_refused(tmp_path: Path, metric: str) -> None:
    message = refusal(tmp_path, MINIMAL + f"gate: {{rules: [{{metric: {metric}, at_least: 1}}]}}\n")
    assert f"no metric '{metric}' is measured" in message
    assert metric not in message.partition("expected one of")[2]


def test_a_gate_without_rules_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "gate: {rules: []}\n")
    assert "gate.rules" in message
    assert "at least 1" in message


def test_the_reference_must_be_listed(tmp_path: Path) -> None:
    message = refusal(tmp_path, "name: t\nvariants: [{name: onnx, steps: [onnx]}]\n")
    assert "the reference is missing" in message


def test_copies_on_several_gpus_cannot_recompute_their_activations(tmp_path: Path) -> None:
    parallel = "train: {parallel: {strategy: dp}}\n"
    message = refusal(tmp_path, MINIMAL + parallel + "model: {gradient_checkpointing: true}\n")
    assert "set train.parallel.strategy to ddp" in message


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\tname: x", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert "pipeline.yaml" in refusal(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot read the configuration"):
        load_config(tmp_path / "nowhere.yaml")


def test_overrides_reach_nested_settings_and_list_elements(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    overrides = ("train.epochs=3", "variants.0.name=base", "data.labels=null", "gate.min_samples=7")
    config = load_config(path, overrides)
    assert (config.train.epochs, config.variants[0].name, config.gate.min_samples) == (3, "base", 7)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epochs", "expected NAME.NAME=VALUE"),
        ("train.epochs=[", "is not a YAML value"),
        ("variants.9.name=x", "there is no element '9'"),
        ("name.first=x", "is a value and has no 'first'"),
        ("train.epoch=3", "did you mean epochs?"),
    ],
)
def test_a_bad_override_is_refused(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in refusal(tmp_path, MINIMAL, override)


def test_a_shipped_configuration_is_found_by_its_name_and_a_typo_names_the_nearest() -> None:
    assert find_config("digits") == CONFIGS / "digits.yaml"
    with pytest.raises(ConfigError, match=r"digit: no such file.*did you mean digits\?"):
        find_config("digit")


@pytest.mark.parametrize("gate", ["strict", "{preset: strict}", "mine.yaml"])
def test_a_gate_may_be_a_preset_or_a_file_of_its_own(tmp_path: Path, gate: str) -> None:
    (tmp_path / "mine.yaml").write_text("preset: strict\n")
    found = load_config(write(tmp_path, MINIMAL + f"gate: {gate}\n"))
    assert (found.gate.preset, found.gate.min_samples) == ("strict", 1000)


def test_a_preset_may_be_set_from_outside(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "gate: {rules: [{metric: accuracy/accuracy, at_least: 0.5}]}\n")
    assert load_config(path, ["gate=smoke"]).gate.preset == "smoke"
    assert load_config(path, ["gate=smoke", "gate.min_samples=3"]).gate.preset == "smoke"


def test_a_gate_that_is_neither_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "gate: strikt\n")
    assert message == "strikt: no such policy file, and no preset of that name; did you mean strict?"


def test_a_star_that_stands_for_nothing_is_refused_but_not_in_a_preset(tmp_path: Path) -> None:
    bare = MINIMAL + "evaluation: {fgsm_epsilons: [], noise_sigmas: []}\n"
    assert load_config(write(tmp_path, bare + "gate: strict\n")).gate.preset == "strict"
    rule = "{metric: robustness/fgsm_*, max_drop: 0.1}"
    assert "no metric 'robustness/fgsm_*' is measured" in refusal(
        tmp_path, bare + f"gate: {{rules: [{rule}]}}\n"
    )


def test_rules_on_slices_and_stars_are_taken(tmp_path: Path) -> None:
    rules = "[{metric: slices/age=old/accuracy, at_least: 0.5}, {metric: robustness/fgsm_*, max_drop: 0.1}]"
    text = MINIMAL + f"gate: {{rules: {rules}}}\n"
    assert "no slice gives 'slices/age=old/accuracy'" in refusal(tmp_path, text)
    sliced = text + "evaluation: {slices: [{name: age, column: 0}]}\n"
    assert len(load_config(write(tmp_path, sliced)).gate.rules) == 2
