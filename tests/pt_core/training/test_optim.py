"""The learning rate follows its formula step by step; what should not decay does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from pt_core.modeling.cnn import cnn
from pt_core.training.config import TrainConfig
from pt_core.training.optim import make_optimizer
from pt_core.training.schedule import make_schedule


def rates(schedule, optimizer, num_steps):
    found = []
    for _ in range(num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def ours(name, total_steps):
    config = TrainConfig(schedule=name, learning_rate=0.1)
    optimizer = make_optimizer(nn.Linear(2, 2), config)
    schedule = make_schedule(optimizer, config, total_steps=total_steps)
    return rates(schedule, optimizer, total_steps)


def torchs(make, total_steps):
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    return rates(make(optimizer), optimizer, total_steps)


def test_cosine_is_torchs_cosine():
    expected = torchs(lambda optimizer: CosineAnnealingLR(optimizer, T_max=50), 50)
    np.testing.assert_allclose(ours("cosine", 50), expected, rtol=1e-6, atol=1e-9)


def test_one_cycle_is_torchs_one_cycle_within_a_step():
    expected = torchs(lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=200), 200)
    np.testing.assert_allclose(ours("one-cycle", 200), expected, atol=2e-3)
    assert max(ours("one-cycle", 200)) == pytest.approx(0.1)


def test_constant_is_constant():
    assert set(ours("constant", 5)) == {0.1}


@pytest.mark.parametrize("name", ["one-cycle", "cosine", "constant"])
@pytest.mark.parametrize("total_steps", [1, 2, 3])
def test_the_shortest_runs_have_a_positive_finite_rate(name, total_steps):
    assert all(0 < rate <= 0.1 for rate in ours(name, total_steps))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_biases_and_norms_are_not_decayed(name):
    network = cnn((1, 8, 8), 10, width=8)
    optimizer = make_optimizer(network, TrainConfig(optimizer=name, weight_decay=0.5, schedule="constant"))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    expected = {id(m.weight) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert decayed == expected
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))


def test_frozen_weights_are_left_out():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(requires_grad=False)
    optimizer = make_optimizer(network, TrainConfig())
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == 6
    schedule = make_schedule(optimizer, TrainConfig(schedule="constant", learning_rate=3e-3), total_steps=1)
    assert schedule.learning_rate == 3e-3
