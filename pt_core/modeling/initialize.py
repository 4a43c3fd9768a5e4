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
    it out of sight (``torch.relu`` in ``forward``), hidden layers take ReLU's gain. The layer registered last
    is taken to give the logits: its gain is 1, whatever non-linearity is registered after it. Biases become 0,
    normalisation layers the identity. Parameters that need no gradient are left as they are, and so are
    normalisation layers that have one.

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
            _draw_weighted(layer, method=method, gain=_gain(leaves[position + 1 :]), generator=generator)
        elif isinstance(layer, _NORMS) and _is_trainable(layer):
            layer.reset_parameters()
        elif isinstance(layer, nn.Embedding) and _is_trainable(layer):
            layer.weight.normal_(std=NORMAL_STD, generator=generator)
            layer._fill_padding_idx_with_zero()


def _is_trainable(layer: nn.Module) -> bool:
    return all(parameter.requires_grad for parameter in layer.parameters())


def _draw_weighted(
    layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d,
    *,
    method: Initialization,
    gain: float,
    generator: torch.Generator,
) -> None:
    if layer.weight.requires_grad:
        _draw(layer.weight, method=method, gain=gain, generator=generator)
    if layer.bias is not None and layer.bias.requires_grad:
        layer.bias.zero_()


def _draw(weight: torch.Tensor, *, method: Initialization, gain: float, generator: torch.Generator) -> None:
    draw: dict[str, Callable[[], torch.Tensor]] = {
        "xavier": lambda: nn.init.xavier_uniform_(weight, gain=gain, generator=generator),
        "kaiming": lambda: weight.normal_(std=gain / math.sqrt(weight[0].numel()), generator=generator),
        "orthogonal": lambda: nn.init.orthogonal_(weight, gain=gain, generator=generator),
        "normal": lambda: weight.normal_(std=NORMAL_STD, generator=generator),
    }
    draw[method]()


def _gain(following: list[nn.Module]) -> float:
    if not any(isinstance(module, _WEIGHTED) for module in following):
        return 1.0
    for module in following:
        if isinstance(module, nn.LeakyReLU):
            return math.sqrt(2 / (1 + module.negative_slope**2))
        if type(module) in _GAINS:
            return _GAINS[type(module)]
    return _RELU_GAIN
