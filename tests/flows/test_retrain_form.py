"""The forms of a retrain and a promotion: what Prefect shows, and what the fields say as changes of a configuration."""

from __future__ import annotations

from typing import get_args

import pytest
from prefect.utilities.callables import parameter_schema

from flows.load import find_config, load_config
from flows.promote import promote
from flows.retrain import retrain
from flows.retrain_form import form_overrides
from pt_core.errors import ConfigError
from tasks.promotion import PromotionConfig

UNTOUCHED = {"epochs": 0, "precision": "as configured", "gate": "as configured", "promote": "as configured"}


def test_the_form_has_a_few_flat_fields_each_with_title_help_and_default() -> None:
    shown = parameter_schema(retrain).model_dump_for_openapi()
    fields = sorted(shown["properties"].items(), key=lambda item: item[1]["position"])
    assert [name for name, _ in fields] == [
        "config",
        "epochs",
        "precision",
        "gate",
        "promote",
        "overrides",
        "force",
    ]
    assert shown["definitions"] == {}
    assert "required" not in shown
    for name, field in fields:
        assert field["title"][0].isupper(), name
        assert len(field["description"]) > 20, name
        assert field["type"] in ("string", "integer", "boolean", "array"), name
        assert "default" in field, name
    selects = {name: field["enum"] for name, field in fields if "enum" in field}
    assert selects == {
        "precision": ["as configured", "auto", "fp32", "bf16-mixed", "fp16-mixed"],
        "gate": ["as configured", "strict", "balanced", "smoke"],
        "promote": ["as configured", "never", "if it passes", "ask a person"],
    }
    assert (fields[1][1]["minimum"], fields[1][1]["maximum"]) == (0, 10_000)


def test_how_a_promotion_is_agreed_to_is_a_choice() -> None:
    field = parameter_schema(promote).model_dump_for_openapi()["properties"]["approval"]
    assert field["enum"] == ["as configured", "none", "prefect"]
    assert (field["title"], field["type"], field["default"]) == ("Approval", "string", "as configured")
    assert set(field["enum"][1:]) == set(get_args(PromotionConfig.model_fields["approval"].annotation))


def test_an_untouched_form_changes_nothing() -> None:
    assert form_overrides((), **UNTOUCHED) == ()


def test_every_choice_of_the_form_is_a_setting_that_the_configuration_takes() -> None:
    path = find_config("digits")
    for precision in ("auto", "fp32", "bf16-mixed", "fp16-mixed"):
        assert loaded(path, precision=precision).train.precision == precision
    for gate in ("strict", "balanced", "smoke"):
        assert loaded(path, gate=gate).gate.preset == gate
    promoted = {"never": (False, "none"), "if it passes": (True, "none"), "ask a person": (True, "prefect")}
    for choice, expected in promoted.items():
        promotion = loaded(path, promote=choice).promotion
        assert (promotion.after_run, promotion.approval) == expected
    assert loaded(path, epochs=7).train.epochs == 7


def loaded(path, **chosen):
    return load_config(path, form_overrides((), **(UNTOUCHED | chosen)))


def test_the_gate_is_chosen_before_other_settings_change_it() -> None:
    said = form_overrides(("gate.min_samples=7",), **(UNTOUCHED | {"gate": "smoke"}))
    gate = load_config(find_config("digits"), said).gate
    assert (gate.preset, gate.min_samples) == ("smoke", 7)


@pytest.mark.parametrize(
    ("override", "chosen", "sentence"),
    [
        (
            "train.epochs",
            {},
            "overrides: 'train.epochs': expected name.name=value, for example train.batch_size=128",
        ),
        (
            "train.epochs=4",
            {"epochs": 3},
            "overrides: train.epochs=4, and the field epochs of the form says train.epochs=3; say it in one place, "
            "or leave epochs as configured",
        ),
        (
            "promotion.approval=none",
            {"promote": "ask a person"},
            "overrides: promotion.approval=none, and the field promote of the form says promotion.approval=prefect; "
            "say it in one place, or leave promote as configured",
        ),
    ],
)
def test_what_contradicts_the_form_is_one_sentence(override: str, chosen: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        form_overrides((override,), **(UNTOUCHED | chosen))
    assert str(refused.value) == sentence
