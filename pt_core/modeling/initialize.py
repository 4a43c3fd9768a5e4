"""Draw initial weights by layer type, with the gain of the non-linearity that follows."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from pt_core.modeling.spec import Initialization

NORMAL_STD = 0.02
"""Deviation of "normal" weights and of embeddings, as in BERT and GPT-2."""

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
_TRANSPARENT = (*_NORMS, nn.modules.dropout._DropoutNd, nn.Identity, nn.Flatten, nn.MaxPool2d, nn.AvgPool2d)

_RELU_GAIN = math.sqrt(2)
_GAINS: dict[type[nn.Module], float] = {
    nn.ReLU: _RELU_GAIN,
    nn.ReLU6: _RELU_GAIN,
    nn.GELU: _RELU_GAIN,
    nn.SiLU: _RELU_GAIN,
    nn.Hardswish: _RELU_GAIN,
    nn.Tanh: 5 / 3,
    nn.Sigmoid: 1.0,
    nn.SELU: 3 / 4,
}
"""Gains of torch.nn.init.calculate_gain; the smooth relatives of ReLU take its gain."""


@torch.no_grad()
def initialize(network: nn.Module, *, method: Initialization, generator: torch.Generator) -> None:
    """Set the weights of linear, convolution, normalisation and embedding layers; others keep theirs.

    The non-linearity after a layer is the next one in the order of registration. Where a network applies
    it out of sight (``torch.relu`` in ``forward``), hidden layers take ReLU's gain; the last layer, which
    gives logits, takes 1. Biases become 0, normalisation layers the identity.

    Args:
        network: changed in place.
        method: xavier (uniform, Glorot and Bengio 2010), kaiming (normal, fan-in, He et al. 2015),
            orthogonal (Saxe et al. 2014), normal (deviation 0.02), or keep.
        generator: source of the randomness, on the CPU.
    """
    if method == "keep":
        return
    leaves = [module for module in network.modules() if not any(True for _ in module.children())]
    for position, layer in enumerate(leaves):
        if isinstance(layer, _WEIGHTED):
            _draw(layer.weight, method=method, gain=_gain(leaves[position + 1 :]), generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, _NORMS):
            layer.reset_parameters()
        elif isinstance(layer, nn.Embedding):
            layer.weight.normal_(std=NORMAL_STD, generator=generator)
            layer._fill_padding_idx_with_zero()


def _draw(weight: torch.Tensor, *, method: Initialization, gain: float, generator: torch.Generator) -> None:
    draw: dict[str, Callable[[], torch.Tensor]] = {
        "xavier": lambda: nn.init.xavier_uniform_(weight, gain=gain, generator=generator),
        "kaiming": lambda: weight.normal_(std=gain / math.sqrt(weight[0].numel()), generator=generator),
        "orthogonal": lambda: nn.init.orthogonal_(weight, gain=gain, generator=generator),
        "normal": lambda: weight.normal_(std=NORMAL_STD, generator=generator),
    }
    draw[method]()


def _gain(following: list[nn.Module]) -> float:
    for module in following:
        if isinstance(module, nn.LeakyReLU):
            return math.sqrt(2 / (1 + module.negative_slope**2))
        if type(module) in _GAINS:
            return _GAINS[type(module)]
    has_later_layer = any(isinstance(module, _WEIGHTED) for module in following)
    return _RELU_GAIN if has_later_layer else 1.0
