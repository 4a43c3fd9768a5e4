"""A torch predictor answers where it was asked to, and says which kernels it has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pt_core.errors import StepFailed
from pt_core.inference.torch_predictor import TorchPredictor
from pt_core.modeling.spec import ModelSpec

SPEC = ModelSpec(
    target="a:b", arguments={}, input_shape=(4,), num_classes=2, mean=None, std=None, input_range=None
)


def test_a_network_that_answers_on_another_device_is_refused():
    with pytest.raises(StepFailed, match="asked for cpu, the network answered on meta"):
        TorchPredictor(lambda x: x[:, :2].to("meta"), spec=SPEC, provider="eager", device="cpu")


def test_the_instruction_set_is_that_of_torchs_kernels():
    predictor = TorchPredictor(lambda x: x[:, :2], spec=SPEC, provider="eager", device="cpu")
    assert predictor.logits(np.ones((1, 4), np.float32)).shape == (1, 2)
    assert predictor.runtime().instruction_set == torch.backends.cpu.get_cpu_capability()
