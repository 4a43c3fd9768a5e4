"""The normalisation of raw input as the first layer of a network, and the way back to the network behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

import torch
from torch import nn

from pt_core.modeling.spec import ModelSpec

V = TypeVar("V")


class Normalized(nn.Module):
    """A network that takes raw input: (N, *input_shape) float32 -> (N, num_classes) logits."""

    mean: torch.Tensor | None
    std: torch.Tensor | None

    def __init__(self, network: nn.Module, *, spec: ModelSpec) -> None:
        """Keep mean and deviation as buffers, shaped to broadcast; without them raw input goes through."""
        super().__init__()
        self.network = network
        self.register_buffer("mean", _broadcastable(spec.mean, spec.input_shape))
        self.register_buffer("std", _broadcastable(spec.std, spec.input_shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of raw inputs."""
        if self.mean is not None and self.std is not None:
            x = (x - self.mean) / self.std
        return cast("torch.Tensor", self.network(x))


def own_network(network: nn.Module) -> nn.Module:
    """Return the network that its author's code made, whatever it was wrapped into; names in it are the author's."""
    inside = (module.network for module in network.modules() if isinstance(module, Normalized))
    return next(inside, network)


def own_arrays(arrays: Mapping[str, V]) -> dict[str, V]:
    """Return the entries of a built network's state that its author's code made, under the author's names."""
    prefix = "network."
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _broadcastable(values: tuple[float, ...] | None, input_shape: tuple[int, ...]) -> torch.Tensor | None:
    if values is None:
        return None
    return torch.tensor(values, dtype=torch.float32).reshape(1, len(values), *[1] * (len(input_shape) - 1))
