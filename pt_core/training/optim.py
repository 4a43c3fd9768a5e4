"""The optimizer of a configuration, by name."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from pt_core.errors import ConfigError
from pt_core.training.config import TrainConfig
from pt_core.training.recipes import OPTIMIZERS, Recipe

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

# Said either way: torch's default would round differently from one release or device to the next.
_IN_ONE_KERNEL = ("adamw", "adam")
"""Fused: a third of the time of a dozen kernels for a small network, a sixth for a ResNet-18."""
_NEVER_FUSED = ("adagrad", "sgd")
"""Fused they would refuse the sparse gradients of an embedding."""


def make_optimizer(network: nn.Module, config: TrainConfig) -> Optimizer:
    """Return the optimizer; biases and normalisation layers (one axis) are not decayed.

    Raises:
        ConfigError: torch refuses the value of an option.
    """
    recipe = OPTIMIZERS[config.optimizer]
    options = {name: _as_torch_takes_it(value) for name, value in config.optimizer_options.items()}
    if config.optimizer == "sgd":
        options["momentum"] = config.momentum
    if config.optimizer in _IN_ONE_KERNEL:
        # A complex parameter has no such kernel.
        options["fused"] = all(p.is_floating_point() for p in network.parameters() if p.requires_grad)
    if config.optimizer in _NEVER_FUSED:
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


@contextlib.contextmanager
def stepping(optimizer: Optimizer) -> Iterator[None]:
    """Let a fused optimizer compute in one thread while the block runs.

    On the CPU its kernel divides each tensor among all threads, however small, and they wait for each other after
    each: two cores gain nothing, and where something else takes one of them a step takes a thousand times as long.
    """
    if not optimizer.defaults.get("fused"):
        yield
        return
    # Not torch.set_num_threads: it also drops what oneDNN has prepared, and the next convolutions prepare it again.
    with _openmp().limit(limits=1):
        yield


@functools.cache
def _openmp() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="openmp")


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
