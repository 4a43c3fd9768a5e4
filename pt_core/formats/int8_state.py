"""A network with dynamically quantized Linear layers on disk, without a pickle: safetensors, and names in its structure."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.ao.nn.quantized.dynamic import Linear as Int8Linear

from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.artifacts.tensors import Arrays, load_tensors, save_tensors
from pt_core.artifacts.weights import load_strictly
from pt_core.errors import IntegrityError
from pt_core.formats.structure import STRUCTURE

_SCALE, _ZERO_POINT = "weight_scale", "weight_zero_point"


def int8_layers(network: nn.Module) -> dict[str, Int8Linear]:
    """Return the dynamically quantized Linear layers by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Int8Linear)}


def write_int8_network(network: nn.Module, folder: Path) -> None:
    """Write INT8 values, scales and zero points of quantized layers, and every other tensor as it is."""
    layers = int8_layers(network)
    inside = tuple(f"{name}." for name in layers)
    arrays: Arrays = {
        name: value.detach().numpy()
        for name, value in network.state_dict().items()
        if not name.startswith(inside)
    }
    for name, layer in layers.items():
        weight, bias = _unpack(layer)
        arrays[f"{name}.weight"] = weight.int_repr().numpy()
        arrays[f"{name}.{_SCALE}"] = np.array(weight.q_scale(), dtype=np.float64)
        arrays[f"{name}.{_ZERO_POINT}"] = np.array(weight.q_zero_point(), dtype=np.int64)
        if bias is not None:
            arrays[f"{name}.bias"] = bias.detach().numpy()
    save_tensors(folder / WEIGHTS, arrays)


def fill_int8_network(network: nn.Module, folder: Path, names: tuple[str, ...]) -> None:
    """Load what :func:`write_int8_network` wrote into a network as its code builds it.

    Raises:
        IntegrityError: a tensor is missing, left over, or of another shape or type than the code's layer.
    """
    arrays = load_tensors(folder / WEIGHTS, finite=True)
    weights = {name: _take_weight(arrays, name, folder) for name in names}
    # The floating-point network is filled first, INT8 layers with their dequantized weights, so that the
    # one strict loader compares every name, shape and type.
    arrays |= {f"{name}.weight": weight.dequantize().numpy() for name, weight in weights.items()}
    load_strictly(network, arrays, source=folder / WEIGHTS)
    for name, weight in weights.items():
        _replace(network, name, weight, folder)


@contextmanager
def expected_notice() -> Iterator[None]:
    """Silence torch's notice that quantized tensors will go; they are what this scheme is made of."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*quantized tensor creation functions.*", category=UserWarning
        )
        yield


def _take_weight(arrays: Arrays, name: str, folder: Path) -> Tensor:
    try:
        weight, scale, zero_point = (arrays.pop(f"{name}.{part}") for part in ("weight", _SCALE, _ZERO_POINT))
    except KeyError as error:
        raise IntegrityError(f"{folder / WEIGHTS}: {error.args[0]}: missing") from error
    if weight.dtype != np.int8 or weight.ndim != 2 or scale.size != 1 or zero_point.size != 1:
        raise IntegrityError(
            f"{folder / WEIGHTS}: {name}.weight is {weight.dtype} {weight.shape}, expected int8"
        )
    with expected_notice():
        # An undocumented name, and the only call that takes INT8 values without rounding them again.
        return torch._make_per_tensor_quantized_tensor(
            torch.from_numpy(weight), scale.item(), zero_point.item()
        )


def _replace(network: nn.Module, name: str, weight: Tensor, folder: Path) -> None:
    modules = dict(network.named_modules())
    layer = modules.get(name)
    if not isinstance(layer, nn.Linear):
        raise IntegrityError(
            f"{folder / STRUCTURE}: layer {name} is {type(layer).__name__} in the code, expected Linear"
        )
    with expected_notice():
        replacement = Int8Linear(  # type: ignore[no-untyped-call]
            layer.in_features, layer.out_features, bias_=layer.bias is not None
        )
    replacement.set_weight_bias(weight, None if layer.bias is None else layer.bias.detach())
    parent, _, child = name.rpartition(".")
    setattr(modules[parent], child, replacement)


def _unpack(layer: Int8Linear) -> tuple[Tensor, Tensor | None]:
    return cast("tuple[Tensor, Tensor | None]", layer._packed_params._weight_bias())
