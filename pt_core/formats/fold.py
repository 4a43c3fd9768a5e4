"""Fold batch normalisations into the layers before them: found in the captured graph, and rebuilt by their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from pt_core.errors import IntegrityError
from pt_core.formats.structure import STRUCTURE, Fold

# Exactly these: a subclass or a parametrised layer may compute something else with the same weight.
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

_LAYER_OPERATORS = (
    "aten.conv1d.default",
    "aten.conv2d.default",
    "aten.conv3d.default",
    "aten.linear.default",
)
_NORM_OPERATOR = "aten.batch_norm.default"
_IS_TRAINING = 5
"""Position of the argument that says whether the statistics are the batch's own."""


def find_folds(program: ExportedProgram, network: nn.Module) -> tuple[Fold, ...]:
    """Return each normalisation that is the only reader of a convolution or linear layer, in the graph's order.

    A layer or a normalisation that the network calls more than once, or whose weights anything else reads, is left
    as it is: folding would change its other uses.
    """
    modules = dict(network.named_modules())
    found = ((_pair(node), node) for node in program.graph.nodes if str(node.target) == _NORM_OPERATOR)
    return tuple(
        fold for fold, norm in found if fold is not None and _is_foldable(fold, norm, modules, program)
    )


def fold_in_place(network: nn.Module, folds: Sequence[Fold]) -> None:
    """Multiply each normalisation into its layer, in float64, and put an identity in its place."""
    for fold in folds:
        layer, norm = network.get_submodule(fold.layer), network.get_submodule(fold.norm)
        weight, bias = _folded(layer, norm)
        dtype = _weight(layer).dtype
        layer.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
        layer.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
        network.set_submodule(fold.norm, nn.Identity())


def remove_folded(network: nn.Module, folds: Sequence[Fold], *, source: Path) -> None:
    """Give a network as its code builds it the layers of a folded one; their values are loaded afterwards.

    Raises:
        IntegrityError: the code has another layer under one of the names.
    """
    modules = dict(network.named_modules())
    for fold in folds:
        layer, norm = modules.get(fold.layer), modules.get(fold.norm)
        if type(layer) not in (*_CONVOLUTIONS, nn.Linear) or type(norm) not in _NORMS:
            raise IntegrityError(
                f"{source / STRUCTURE}: {fold.norm} into {fold.layer} is {type(norm).__name__} into "
                f"{type(layer).__name__} in the code, expected a batch normalisation into a convolution or linear layer"
            )
        weight = _weight(layer)
        network.get_submodule(fold.layer).bias = nn.Parameter(
            torch.zeros(len(weight), dtype=weight.dtype), requires_grad=False
        )
        network.set_submodule(fold.norm, nn.Identity())


def _pair(norm: Node) -> Fold | None:
    """Return the modules behind a normalisation and the layer that it alone reads, by where each was called."""
    layer = norm.args[0]
    if not isinstance(layer, Node) or str(layer.target) not in _LAYER_OPERATORS or len(layer.users) > 1:
        return None
    names = [_module_of(layer), _module_of(norm)]
    return Fold(layer=names[0], norm=names[1]) if all(names) else None


def _module_of(node: Node) -> str:
    stack: dict[str, tuple[str, object]] = node.meta.get("nn_module_stack", {})
    return list(stack.values())[-1][0] if stack else ""


def _is_foldable(fold: Fold, norm: Node, modules: dict[str, nn.Module], program: ExportedProgram) -> bool:
    layer_module, norm_module = modules.get(fold.layer), modules.get(fold.norm)
    layer = norm.args[0]
    assert isinstance(layer, Node)
    is_linear = type(layer_module) is nn.Linear
    return (
        (is_linear or type(layer_module) in _CONVOLUTIONS)
        and type(norm_module) in _NORMS
        and norm.args[_IS_TRAINING] is False
        # A linear layer's features are its last dimension, a normalisation's channels the second.
        and (not is_linear or layer.meta["val"].ndim == 2)
        and all(_is_read_by(reader, program) for reader in _readers(fold, layer, norm))
    )


def _readers(fold: Fold, layer: Node, norm: Node) -> Iterator[tuple[Node, str, Node]]:
    """Yield each tensor that the two nodes read, the name that it must have, and who alone may read it."""
    named = [
        (layer, fold.layer, ("weight", "bias")),
        (norm, fold.norm, ("weight", "bias", "running_mean", "running_var")),
    ]
    for node, module, names in named:
        for argument, name in zip(node.args[1:], names, strict=False):
            if isinstance(argument, Node):
                yield argument, f"{module}.{name}", node


def _is_read_by(reader: tuple[Node, str, Node], program: ExportedProgram) -> bool:
    tensor, name, node = reader
    signature = program.graph_signature
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return stored.get(tensor.name) == name and list(tensor.users) == [node]


def _folded(layer: nn.Module, norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    assert isinstance(norm, _NORMS)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    bias = layer.bias
    fuse = fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fuse_conv_bn_weights
    return fuse(
        _weight(layer).double(),
        bias.double() if isinstance(bias, torch.Tensor) else None,
        mean,
        variance,
        norm.eps,
        # Without them nothing is scaled and nothing added; for linear layers torch cannot say that by None.
        torch.ones_like(mean) if norm.weight is None else norm.weight.double(),
        torch.zeros_like(mean) if norm.bias is None else norm.bias.double(),
    )


def _weight(layer: nn.Module | None) -> torch.Tensor:
    assert layer is not None
    assert isinstance(layer.weight, torch.Tensor)
    return layer.weight
