"""What one answer of a network takes, whatever the machine: parameters and floating-point operations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_MAX_REASON = 200
_UNCOUNTABLE = (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError)


class Cost(NamedTuple):
    """Counts of a network."""

    num_parameters: int
    """Numbers in its parameters, buffers left out."""
    flops: int | None
    """Operations of the forward pass of one sample, a multiplication and an addition counted as two; those of
    matrix products, convolutions and attention, as torch counts them."""
    reason: str | None
    """Why they could not be counted."""


def network_cost(network: nn.Module, *, input_shape: tuple[int, ...]) -> Cost:
    """Count on one sample of zeros; the network is on the CPU, in evaluation mode and in float32."""
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    counter = FlopCounterMode(display=False)
    try:
        with torch.inference_mode(), counter:
            network(torch.zeros((1, *input_shape)))
    except _UNCOUNTABLE as error:
        reason = f"torch cannot count them: {type(error).__name__}: {' '.join(str(error).split())}"
        return Cost(num_parameters, None, reason[:_MAX_REASON])
    flops = int(counter.get_total_flops())
    if not flops:
        return Cost(
            num_parameters, None, "it has no matrix product, convolution or attention that torch counts"
        )
    return Cost(num_parameters, flops, None)
