"""The optimizer of a configuration, by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from pt_core.errors import ConfigError
from pt_core.training.config import TrainConfig
from pt_core.training.recipes import OPTIMIZERS, Recipe

# fused=False: the default of some would round differently from one release or device to the next.
_FUSED = ("adamw", "adam", "adagrad", "sgd")


def make_optimizer(network: nn.Module, config: TrainConfig) -> Optimizer:
    """Return the optimizer; biases and normalisation layers (one axis) are not decayed.

    Raises:
        ConfigError: torch refuses the value of an option.
    """
    recipe = OPTIMIZERS[config.optimizer]
    options = {name: _as_torch_takes_it(value) for name, value in config.optimizer_options.items()}
    if config.optimizer == "sgd":
        options["momentum"] = config.momentum
    if config.optimizer == "adamw":
        options["foreach"] = True
    if config.optimizer in _FUSED:
        options["fused"] = False
    try:
        optimizer: Optimizer = getattr(torch.optim, recipe.class_name)(
            _groups(network, config, recipe), lr=config.learning_rate, **options
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"train.optimizer_options: {config.optimizer} refuses {config.optimizer_options}: {error}"
        ) from error
    return optimizer


def _groups(network: nn.Module, config: TrainConfig, recipe: Recipe) -> list[dict[str, Any]]:
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not recipe.decays:
        return [{"params": trainable}]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _as_torch_takes_it(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
