"""What a model's settings accept, and the sentence for what they do not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pt_core.modeling.spec import ModelConfig, WarmStart


def test_a_warm_start_is_strict_unless_a_share_is_given():
    assert WarmStart(checkpoint="a").strict
    assert not WarmStart(checkpoint="a", min_loaded_fraction=0.9).strict


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"checkpoint": "a", "strict": False}, "strict: false needs the share"),
        ({"checkpoint": "a", "strict": True, "min_loaded_fraction": 0.5}, "strict: true leaves no share"),
        ({"checkpoint": "a", "min_loaded_fraction": 0}, "greater than 0"),
        ({"checkpoint": "a", "min_loaded_fraction": 1.5}, "less than or equal to 1"),
        ({"checkpoint": ""}, "at least 1 character"),
    ],
)
def test_a_warm_start_that_says_two_things_or_none_is_refused(settings, expected):
    with pytest.raises(ValidationError, match=expected) as caught:
        WarmStart.model_validate(settings)
    assert caught.value.error_count() == 1


@pytest.mark.parametrize("choice", ["blocks.*", 3, None])
def test_gradient_checkpointing_is_a_choice_or_a_list_of_patterns(choice):
    with pytest.raises(ValidationError, match="expected true, false or a list of patterns") as caught:
        ModelConfig(gradient_checkpointing=choice)
    assert caught.value.error_count() == 1


@pytest.mark.parametrize("choice", [True, False, ("blocks.*", "stem")])
def test_gradient_checkpointing_survives_json(choice):
    config = ModelConfig(gradient_checkpointing=choice)
    assert ModelConfig.from_json(config.to_json()).gradient_checkpointing == choice
