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

    from pt_core.formats.structure import Structure


class TorchFormat(Record):
    """Eager PyTorch."""

    name: ClassVar[str] = "torch"
    is_program: ClassVar[bool] = False
    calls_target: ClassVar[bool] = True
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
        from pt_core.formats.structure import read_structure
        from pt_core.inference.torch_predictor import TorchPredictor, check_device

        check_device(device)
        network = load_module(artifact).to(device)
        structure = read_structure(Path(artifact.directory))
        lowered = " INT8" if structure.int8_layers else " BF16" if structure.bf16 else ""
        return TorchPredictor(
            network,
            spec=artifact.spec,
            provider=f"eager{lowered}",
            device=device,
            count_nodes=lambda: _count_layers(network),
        )

    def open_layers(self, artifact: Artifact, ancestors: tuple[Artifact, ...]) -> tuple[Opening, ...]:
        """Open the network module by module."""
        from pt_core.formats.taps.torch_ import eager_layers

        return (Opening(artifact.chain, partial(eager_layers, load_module(artifact))),)


def load_module(artifact: Artifact) -> nn.Module:
    """Return the network of a "torch" artifact, ready for inference, with all that its structure says was done to it.

    Raises:
        IntegrityError: names, shapes or types are not those of the network's code.
    """
    from pt_core.artifacts.checkpoint_files import load_network
    from pt_core.formats.structure import Structure, read_structure
    from pt_core.inference.torch_predictor import for_inference

    structure = read_structure(Path(artifact.directory))
    if structure == Structure():
        return for_inference(load_network(artifact, artifact.spec))
    return for_inference(_load_changed(artifact, structure))


def _load_changed(artifact: Artifact, structure: Structure) -> nn.Module:
    import torch

    from pt_core.artifacts.tensors import load_tensors
    from pt_core.artifacts.weights import load_strictly
    from pt_core.formats.bf16_state import fill_bf16_network
    from pt_core.formats.fold import remove_folded
    from pt_core.formats.int8_state import fill_int8_network
    from pt_core.modeling.network import build_network

    folder = Path(artifact.directory)
    # What building draws is overwritten, so it should not cost the caller random numbers.
    with torch.random.fork_rng(devices=[]):
        network = build_network(artifact.spec).eval()
    remove_folded(network, structure.folds, source=folder)
    if structure.bf16:
        fill_bf16_network(network, folder, structure.bf16)
    elif structure.int8_layers:
        fill_int8_network(network, folder, structure.int8_layers)
    else:
        load_strictly(network, load_tensors(folder / WEIGHTS, finite=True), source=folder / WEIGHTS)
    return network


def _count_layers(network: nn.Module) -> tuple[int, int]:
    """Return how many layers the code has, and how many are left that compute anything."""
    from torch import nn

    layers = [module for module in network.modules() if not any(module.children())]
    return len(layers), sum(not isinstance(layer, nn.Identity) for layer in layers)
