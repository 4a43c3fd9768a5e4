"""Format "exported": a torch.export program with a dynamic batch, one .pt2 file that needs no model code."""

from __future__ import annotations

import os
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.artifacts.layers import Opening
from pt_core.artifacts.plugin import Predictor
from pt_core.record import Record

if TYPE_CHECKING:
    from torch.export import ExportedProgram

FILE = "model.pt2"


class ExportedFormat(Record):
    """A torch.export program."""

    name: ClassVar[str] = "exported"
    is_program: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("torch",)
    precision: ClassVar[Precision | None] = None

    def unavailable(self) -> str | None:
        """Return ``None``: torch is a dependency of the product."""
        return None

    def convert(self, source: Artifact, destination: Path) -> None:
        """Export the network and write the program."""
        from pt_core.formats.capture import export_program

        save_program(export_program(source), destination)

    def load(self, artifact: Artifact, device: str) -> Predictor:
        """Load the program with pickled code refused."""
        from pt_core.inference.torch_predictor import TorchPredictor, check_device

        check_device(device)
        program = load_program(artifact)
        num_nodes = count_operators(program)
        return TorchPredictor(
            program.module().to(device),
            spec=artifact.spec,
            provider="torch.export program",
            device=device,
            # Executed as it is written.
            count_nodes=lambda: (num_nodes, num_nodes),
        )

    def open_layers(self, artifact: Artifact, ancestors: tuple[Artifact, ...]) -> tuple[Opening, ...]:
        """Open the program node by node."""
        from pt_core.formats.taps.exported import program_layers

        return (Opening(artifact.chain, partial(program_layers, load_program(artifact))),)


def load_program(artifact: Artifact) -> ExportedProgram:
    """Return the program of an "exported" artifact, with pickled code refused."""
    import torch

    if artifact.quantization is not None:
        # Registers the operators that PT2E's programs quantize by; without them the program is refused.
        import torch.ao.quantization.fx._decomposed
    # torch.export.load executes pickled code by two routes unless this is set when it runs.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    return torch.export.load(Path(artifact.directory) / FILE)


def count_operators(program: ExportedProgram) -> int:
    """Return how many operators a program calls, those that only ask for a size left out."""
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    return sum(target.partition(".")[0] in ("aten", "quantized_decomposed") for target in targets) - sum(
        target.startswith(("aten.sym_", "aten._assert")) for target in targets
    )


def save_program(program: ExportedProgram, destination: Path) -> None:
    """Write a program as the payload of an "exported" artifact."""
    import torch

    with warnings.catch_warnings():
        # Raised inside torch by its own use of pytrees.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        # A tensor whose channels lie last is none to it that covers its memory; it is written whole all the same.
        warnings.filterwarnings("ignore", message="No complete tensor found", category=UserWarning)
        torch.export.save(program, destination / FILE)
