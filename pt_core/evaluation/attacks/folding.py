"""A copy of a network that computes the same in less time, for the many gradients of an attack."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_MAX_RELATIVE_ERROR = 1e-4


def for_attack(network: nn.Module, batch: torch.Tensor) -> nn.Module:
    """Return a frozen copy in evaluation mode, its normalisations folded into the convolutions before them.

    Only neighbours in an ``nn.Sequential`` are folded. Where the network takes that sequence apart, or for
    any other reason the copy computes something else on ``batch``, the copy is left as the network was.
    Images are computed with channels last, which convolutions on a CPU prefer.

    Args:
        network: what is attacked; it is not changed.
        batch: a few samples to compare the copy on.
    """
    plain = _frozen(network)
    folded = _fold(_frozen(network))
    with torch.no_grad():
        expected = plain(batch)
        difference = (folded(batch) - expected).abs().max()
    same = bool(difference <= _MAX_RELATIVE_ERROR * expected.abs().max())
    chosen = folded if same else plain
    return chosen.to(memory_format=torch.channels_last) if batch.ndim == 4 else chosen  # type: ignore[call-overload]


def _frozen(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).eval().requires_grad_(requires_grad=False)


def _fold(network: nn.Module) -> nn.Module:
    """Fold in place; a folded normalisation leaves an identity, so that places in the sequence stay."""
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for place in range(len(sequence) - 1):
            convolution, norm = sequence[place], sequence[place + 1]
            if _can_fold(convolution, norm):
                sequence[place] = fuse_conv_bn_eval(convolution, norm)  # type: ignore[type-var, arg-type]
                sequence[place + 1] = nn.Identity()
    return network.requires_grad_(requires_grad=False)


def _can_fold(convolution: nn.Module, norm: nn.Module) -> bool:
    # Exact types: a subclass may compute something else.
    return (
        type(convolution) in _CONVOLUTIONS
        and type(norm) in _NORMALISATIONS
        and isinstance(norm.running_mean, torch.Tensor)
    )
