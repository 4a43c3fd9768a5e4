"""Quantizer "int8-dynamic": INT8 weights of every Linear layer, activations quantized as they come (PyTorch)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pt_core.artifacts.artifact import Artifact, Quantization
from pt_core.artifacts.plugin import Needs, StepData
from pt_core.errors import NothingQuantized
from pt_core.record import Record

if TYPE_CHECKING:
    from torch import nn


class Int8Dynamic(Record):
    """PyTorch's dynamic quantization: only ``nn.Linear`` has INT8 kernels in it, convolutions stay FP32."""

    name: ClassVar[str] = "int8-dynamic"
    sources: ClassVar[tuple[str, ...]] = ("torch",)
    target: ClassVar[str] = "torch"
    needs: ClassVar[Needs] = "nothing"

    def unavailable(self) -> str | None:
        """Return ``None``: torch is a dependency of the product, and asking it for its kernels would import it."""
        return None

    def quantize(self, source: Artifact, destination: Path, data: StepData | None) -> Quantization:
        """Quantize every Linear layer of the network.

        Raises:
            NothingQuantized: the network has no Linear layer.
        """
        from pt_core.formats.int8_state import write_int8_network
        from pt_core.formats.structure import read_structure, write_structure
        from pt_core.formats.torch_ import load_module

        network = load_module(source)
        weights = _find_weights(network)
        quantized = _quantize_linears(network)
        result = _describe(quantized, weights)
        if not result.quantized_layers:
            raise NothingQuantized(
                f"{self.name}: no layer became INT8; only nn.Linear is supported and the network has "
                f"{', '.join(sorted({type(m).__name__ for m in network.modules()}))[:300]}; use onnx-int8-static"
            )
        write_int8_network(quantized, destination)
        structure = read_structure(Path(source.directory))
        write_structure(destination, structure.model_copy(update={"int8_layers": result.quantized_layers}))
        return result


def _quantize_linears(network: nn.Module) -> nn.Module:
    import torch
    from torch import nn
    from torch.ao.quantization import quantize_dynamic

    from pt_core.formats.int8_state import expected_notice

    with warnings.catch_warnings(), expected_notice():
        # Deprecated upstream in favour of torchao, and offered here on purpose.
        warnings.filterwarnings(
            "ignore", message=".*torch.ao.quantization is deprecated", category=DeprecationWarning
        )
        quantized: nn.Module = quantize_dynamic(  # type: ignore[no-untyped-call]
            network, {nn.Linear}, dtype=torch.qint8
        )
    return quantized


class _Weight(NamedTuple):
    """One matrix of the network, tied or not."""

    size: int
    """Its elements."""
    layers: tuple[str, ...]
    """Every layer that holds it."""


def _find_weights(network: nn.Module) -> list[_Weight]:
    """Return every parameter with two dimensions or more once, however many layers share it."""
    found: dict[int, _Weight] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if parameter.ndim > 1:
            earlier = found.get(id(parameter), _Weight(parameter.numel(), ()))
            layers = (*earlier.layers, name.rpartition(".")[0])
            found[id(parameter)] = earlier._replace(layers=layers)
    return list(found.values())


def _describe(network: nn.Module, weights: list[_Weight]) -> Quantization:
    """Count a weight as INT8 where every layer that holds it is: one that is stored both ways stays what it was."""
    from pt_core.formats.int8_state import int8_layers

    quantized = tuple(int8_layers(network))
    num_int8 = sum(weight.size for weight in weights if set(weight.layers) <= set(quantized))
    kept = dict.fromkeys(layer for weight in weights for layer in weight.layers if layer not in quantized)
    return Quantization(
        scheme=Int8Dynamic.name,
        quantized_layers=quantized,
        kept_layers=tuple(kept),
        weight_share=num_int8 / max(1, sum(weight.size for weight in weights)),
    )
