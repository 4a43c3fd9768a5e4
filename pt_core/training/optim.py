"""The optimizer and its learning-rate schedule, which moves once per optimizer step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pt_core.training.config import TrainConfig

WARM_UP_SHARE = 0.3
"""Share of the steps in which "one-cycle" rises."""

START_FACTOR = 1 / 25
"""Where "one-cycle" starts, as a share of the greatest learning rate."""

END_FACTOR = 1e-4
"""Where "one-cycle" ends."""


def make_optimizer(network: nn.Module, config: TrainConfig) -> Optimizer:
    """Return the optimizer; biases and normalisation layers (one axis) are not decayed."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # fused=False: a fused step hides from its hooks whether the scaler skipped it.
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=False)
    return AdamW(groups, lr=config.learning_rate, fused=False, foreach=True)


def make_schedule(optimizer: Optimizer, config: TrainConfig, *, total_steps: int) -> LambdaLR:
    """Return the schedule over ``total_steps`` optimizer steps.

    one-cycle: a cosine from 1/25 of the learning rate up to it, then a cosine down to 1e-4 of it
    (Smith and Topin 2017, https://arxiv.org/abs/1708.07120, as in torch's OneCycleLR);
    cosine: a cosine from the learning rate to 0; constant: no change.
    """
    factors: dict[str, Callable[[int], float]] = {
        "one-cycle": lambda step: _one_cycle(step, total_steps),
        "cosine": lambda step: _cosine(1.0, 0.0, step / total_steps),
        "constant": lambda _: 1.0,
    }
    return LambdaLR(optimizer, factors[config.schedule])


def last_learning_rate(schedule: LambdaLR) -> float:
    """Return the learning rate that the next step will use."""
    rate = schedule.get_last_lr()[0]
    return float(rate.item() if isinstance(rate, torch.Tensor) else rate)


def _one_cycle(step: int, total_steps: int) -> float:
    peak = max(1.0, WARM_UP_SHARE * total_steps)
    if step < peak:
        return _cosine(START_FACTOR, 1.0, step / peak)
    return _cosine(1.0, END_FACTOR, (step - peak) / max(1.0, total_steps - peak))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
