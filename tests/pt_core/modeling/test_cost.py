"""Parameters and operations of a network, against counts by hand."""

from __future__ import annotations

import torch
from torch import nn

from pt_core.modeling.cost import network_cost


def test_operations_are_those_of_one_sample_two_for_each_multiplication_and_addition():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 6 * 6, 10)
    )
    cost = network_cost(network.eval(), input_shape=(3, 6, 6))
    assert cost.num_parameters == (3 * 9 * 8 + 8) + (8 + 8) + (288 * 10 + 10)
    assert cost.flops == 2 * 36 * 3 * 9 * 8 + 2 * 288 * 10


def test_a_network_that_torch_cannot_count_has_a_reason_and_no_number():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return x * self.scale

    cost = network_cost(Scaled(), input_shape=(4,))
    assert (cost.num_parameters, cost.flops) == (4, None)
    assert "no matrix product" in cost.reason
