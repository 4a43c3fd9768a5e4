"""The limits of a configuration, as a step is told them."""

from __future__ import annotations

import pytest

from flows.config import LimitsConfig
from pt_core.limits import total_memory_bytes


def test_without_a_figure_a_step_may_take_nine_tenths_of_the_machine() -> None:
    for limits in (LimitsConfig().for_step(), LimitsConfig().for_training()):
        assert limits.max_memory_bytes == int(total_memory_bytes() * 0.9)


def test_steps_and_the_training_have_limits_of_their_own() -> None:
    config = LimitsConfig(train_timeout_s=7, step_timeout_s=5, train_memory_gib=2, step_memory_gib=0.5)
    step, training = config.for_step(), config.for_training()
    assert (step.timeout_s, step.max_memory_bytes) == (5, 2**29)
    assert (training.timeout_s, training.max_memory_bytes) == (7, 2**31)


def test_no_memory_is_no_limit() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        LimitsConfig(step_memory_gib=0)
