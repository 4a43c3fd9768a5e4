"""Batch normalisation by the statistics of a whole batch of which each process holds a part."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

AddUp = Callable[[torch.Tensor], torch.Tensor]
"""From a tensor of this process to the sum over all, through which gradients flow back."""


def share_statistics(network: nn.Module, add_up: AddUp) -> None:
    """Let every batch normalisation of a network in training mode see the samples of all processes.

    ``torch.nn.SyncBatchNorm`` does this on GPUs only. Names, parameters and buffers stay; every process ends a
    step with the same running statistics.

    Args:
        network: changed in place.
        add_up: called twice in each forward pass of each normalisation, in the same order in all processes.
    """
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            # Set on the instance as torch's own tools do, so that class, names and state stay.
            module.__dict__["forward"] = _shared(module, add_up)


def _shared(norm: nn.modules.batchnorm._BatchNorm, add_up: AddUp) -> AddUp:
    alone = norm.forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = _normalize(norm, x, add_up) if norm.training else alone(x)
        return y

    return forward


def _normalize(norm: nn.modules.batchnorm._BatchNorm, x: torch.Tensor, add_up: AddUp) -> torch.Tensor:
    """Return ``x`` (N, C, ...) normalised over all axes but C and all processes; statistics are float32."""
    axes = [0, *range(2, x.ndim)]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    wide = x.float()
    count = wide.new_tensor([x.numel() // x.shape[1]])
    sums = add_up(torch.cat([wide.sum(axes), count]))
    mean, total = sums[:-1] / sums[-1], sums[-1]
    # In two passes: the mean of squares less the square of the mean loses what a large mean leaves of it.
    centred = wide - mean.view(shape)
    variance = add_up(centred.square().sum(axes)) / total
    _remember(norm, mean.detach(), variance.detach() * total / (total - 1))
    y = centred * torch.rsqrt(variance + norm.eps).view(shape)
    if norm.weight is not None:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    return y.to(x.dtype)


def _remember(norm: nn.modules.batchnorm._BatchNorm, mean: torch.Tensor, variance: torch.Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    with torch.no_grad():
        norm.num_batches_tracked += 1
        share = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(variance, share)
