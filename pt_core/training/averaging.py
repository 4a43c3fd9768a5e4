"""EMA: an exponential moving average of the weights, evaluated and kept in place of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

Average = dict[str, Tensor]
"""The average of each floating entry of the state dict, on the device; batch statistics are averaged too."""


def start_average(network: nn.Module) -> Average:
    """Return an average that is the network's present state."""
    return {name: value.clone() for name, value in _floating(network).items()}


def update_average(average: Average, network: nn.Module, *, decay: float, num_steps: int) -> None:
    """Move the average towards the network, after its ``num_steps``-th step.

    The decay rises with the steps, min(decay, (1 + n) / (10 + n)), so that a short training does not keep
    what was drawn at random: https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage.
    """
    now = min(decay, (1 + num_steps) / (10 + num_steps))
    current = _floating(network)
    with torch.no_grad():
        torch._foreach_lerp_(list(average.values()), [current[name] for name in average], 1 - now)


@contextlib.contextmanager
def averaged(network: nn.Module, average: Average | None) -> Iterator[None]:
    """Give the network its average while the block runs, and back, to the bit, what it had."""
    if average is None:
        yield
        return
    current = _floating(network)
    held = [value.clone() for value in current.values()]
    with torch.no_grad():
        torch._foreach_copy_(list(current.values()), [average[name] for name in current])
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(current.values()), held)


def _floating(network: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
