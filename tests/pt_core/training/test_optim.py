"""The learning rate follows its formula step by step; what should not decay does not."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, ReduceLROnPlateau

from pt_core.errors import ConfigError
from pt_core.modeling.cnn import cnn
from pt_core.training.config import TrainConfig
from pt_core.training.optim import make_optimizer, stepping
from pt_core.training.recipes import OPTIMIZERS
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


CLASSES = sorted(OPTIMIZERS)


@pytest.mark.parametrize("name", CLASSES)
def test_every_optimizer_is_torchs_and_takes_the_options_it_lists(name):
    taken = inspect.signature(getattr(torch.optim, OPTIMIZERS[name].class_name)).parameters
    assert set(OPTIMIZERS[name].options) <= set(taken)
    assert ("weight_decay" in taken) == OPTIMIZERS[name].decays
    left = set(taken) - set(OPTIMIZERS[name].options) - {"params", "lr", "weight_decay"}
    # What decides how torch computes and not what, and SGD's own key.
    assert left <= {"foreach", "fused", "maximize", "capturable", "differentiable", "momentum"}


@pytest.mark.parametrize("name", CLASSES)
def test_every_optimizer_moves_as_torchs_own(name):
    torch.manual_seed(0)
    x, y = torch.randn(64, 8), torch.randint(0, 3, (64,))
    ours, theirs = nn.Linear(8, 3), nn.Linear(8, 3)
    theirs.load_state_dict(ours.state_dict())
    extra = {"momentum": 0.5} if name == "sgd" else {}
    config = TrainConfig(optimizer=name, learning_rate=0.01, weight_decay=0.0, **extra)
    made = make_optimizer(ours, config)
    decay = {"weight_decay": 0.0} if OPTIMIZERS[name].decays else {}
    expected = getattr(torch.optim, OPTIMIZERS[name].class_name)(theirs.parameters(), 0.01, **decay, **extra)
    before = ours.weight.detach().clone()
    for _ in range(5):
        for network, optimizer in ((ours, made), (theirs, expected)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    assert not torch.equal(ours.weight, before)


class Rotating(nn.Module):
    """Has a complex parameter, as layers in the frequency domain do."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Parameter(torch.ones(3, dtype=torch.complex64))


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_adam_steps_in_one_kernel_where_there_is_one(name):
    config = TrainConfig(optimizer=name)
    assert make_optimizer(nn.Linear(2, 2), config).param_groups[0]["fused"] is True
    network = Rotating()
    optimizer = make_optimizer(network, config)
    network.turn.abs().sum().backward()
    optimizer.step()
    assert (network.turn.abs() < 1).all()


@pytest.mark.parametrize(("name", "expected"), [("adamw", 1), ("sgd", 3)])
def test_one_kernel_computes_in_one_thread_and_the_rest_in_as_many_as_before(name, expected, monkeypatch):
    set_num_threads, before, seen = torch.set_num_threads, torch.get_num_threads(), []
    # torch's own would drop what oneDNN has prepared for the next convolutions.
    monkeypatch.delattr(torch, "set_num_threads")
    network = nn.Linear(2, 2)
    optimizer = make_optimizer(network, TrainConfig(optimizer=name))
    optimizer.register_step_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    network(torch.ones(1, 2)).sum().backward()
    set_num_threads(3)
    try:
        with stepping(optimizer):
            optimizer.step()
        assert (seen, torch.get_num_threads()) == ([expected], 3)
    finally:
        set_num_threads(before)


def test_an_option_reaches_the_optimizer():
    config = TrainConfig(optimizer="nadam", optimizer_options={"betas": [0.8, 0.9], "eps": 1e-6})
    group = make_optimizer(nn.Linear(2, 2), config).param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.8, 0.9), 1e-6)


def test_an_option_that_the_optimizer_does_not_take_is_refused_by_name():
    expected = (
        r"optimizer_options\.beta: adamw takes no such option \(did you mean betas\?\); it takes betas, eps"
    )
    with pytest.raises(ValidationError, match=expected):
        TrainConfig(optimizer_options={"beta": 0.9})


def test_a_value_that_torch_refuses_is_an_error_of_the_configuration():
    config = TrainConfig(optimizer_options={"betas": [0.9, 2.0]})
    with pytest.raises(ConfigError, match=r"train\.optimizer_options: adamw refuses .*beta"):
        make_optimizer(nn.Linear(2, 2), config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "lion"}, "optimizer"),
        ({"schedule": "step"}, "schedule"),
        ({"warmup_epochs": 1}, "one-cycle rises by itself"),
        ({"schedule": "cosine", "warmup_epochs": 20}, "the rise must end before the training"),
        ({"class_weights": "balanced", "sampler": "balanced"}, "would balance twice"),
        ({"class_weights": [1.0, 0.0]}, "expected a positive number for each class"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"momentun": 0.9}, "momentun"),
        ({"momentum": 0.8}, "momentum: 0.8, but optimizer adamw does not read it; .* to sgd"),
        ({"plateau_patience": 5}, "plateau_patience: 5, but schedule one-cycle does not read it"),
        ({"schedule": "cosine", "plateau_factor": 0.5}, "plateau_factor: 0.5, but schedule cosine"),
    ],
)
def test_what_cannot_work_is_refused_by_name(changes, message):
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate(changes)


def test_the_rate_first_rises_and_then_follows_the_schedule():
    config = TrainConfig(schedule="cosine", learning_rate=0.1, epochs=10, warmup_epochs=2.5)
    optimizer = make_optimizer(nn.Linear(2, 2), config)
    found = rates(make_schedule(optimizer, config, total_steps=40), optimizer, 40)
    warm, cool = nn.Linear(2, 2), torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    warm = torch.optim.SGD(warm.parameters(), lr=0.1)
    expected = rates(LinearLR(warm, 0.1, total_iters=9), warm, 10)
    expected += rates(CosineAnnealingLR(cool, T_max=30), cool, 30)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("patience", [0, 2])
def test_plateau_is_torchs_plateau(patience):
    losses = [1.0, 0.9, 0.95, 0.9, 0.91, 0.92, 0.8, 0.79995, 0.81, 0.82, 0.83, 0.5, 0.6, 0.6, 0.6]
    config = TrainConfig(schedule="plateau", learning_rate=0.1, plateau_patience=patience, plateau_factor=0.5)
    optimizer = make_optimizer(nn.Linear(2, 2), config)
    schedule = make_schedule(optimizer, config, total_steps=100)
    theirs = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    expected = ReduceLROnPlateau(theirs, factor=0.5, patience=patience)
    for loss in losses:
        schedule.step()
        schedule.observe(loss)
        expected.step(loss)
        assert schedule.learning_rate == pytest.approx(theirs.param_groups[0]["lr"])
    assert schedule.learning_rate < 0.1
