"""Format "torch": the network's code and a safetensors file of its weights, run eagerly; the reference."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.artifacts.layers import Opening
from pt_core.artifacts.plugin import Predictor
from pt_core.record import Record

if TYPE_CHECKING:
    from torch import nn

LAYERS = "int8_layers.json"
"""Names of the INT8 layers of a dynamically quantized network; absent where there is none."""


class TorchFormat(Record):
    """Eager PyTorch."""

    name: ClassVar[str] = "torch"
    sources: ClassVar[tuple[str, ...]] = ("checkpoint",)
    precision: ClassVar[Precision | None] = None

    def unavailable(self) -> str | None:
        """Return ``None``: torch is a dependency of the product."""
        return None

    def convert(self, source: Artifact, destination: Path) -> None:
        """Copy the weights of a checkpoint; the check that follows loads them strictly."""
        shutil.copyfile(Path(source.directory) / WEIGHTS, destination / WEIGHTS)

    def load(self, artifact: Artifact, device: str) -> Predictor:
        """Rebuild the network from its code and fill it with the weights, strictly."""
        from pt_core.inference.torch_predictor import TorchPredictor, check_device

        check_device(device)
        network = load_module(artifact).to(device)
        provider = "eager" if artifact.quantization is None else "eager INT8"
        return TorchPredictor(network, spec=artifact.spec, provider=provider, device=device)

    def open_layers(self, artifact: Artifact, ancestors: tuple[Artifact, ...]) -> tuple[Opening, ...]:
        """Open the network module by module."""
        from pt_core.formats.taps.torch_ import eager_layers

        return (Opening(artifact.chain, partial(eager_layers, load_module(artifact))),)


def load_module(artifact: Artifact) -> nn.Module:
    """Return the network of a "torch" artifact, ready for inference, its INT8 layers rebuilt if it has any.

    Raises:
        IntegrityError: names, shapes or types are not those of the network's code.
    """
    from pt_core.artifacts.checkpoint_files import load_network
    from pt_core.formats.int8_state import read_int8_network
    from pt_core.inference.torch_predictor import for_inference

    if (Path(artifact.directory) / LAYERS).exists():
        return for_inference(read_int8_network(Path(artifact.directory), artifact.spec))
    return for_inference(load_network(artifact, artifact.spec))
