"""Format "exported": a torch.export program with a dynamic batch, one .pt2 file that needs no model code."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import ClassVar

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.artifacts.plugin import Predictor
from pt_core.record import Record

FILE = "model.pt2"


class ExportedFormat(Record):
    """A torch.export program."""

    name: ClassVar[str] = "exported"
    sources: ClassVar[tuple[str, ...]] = ("torch",)
    precision: ClassVar[Precision | None] = None

    def unavailable(self) -> str | None:
        """Return ``None``: torch is a dependency of the product."""
        return None

    def convert(self, source: Artifact, destination: Path) -> None:
        """Export the network and write the program."""
        import torch

        from pt_core.formats.capture import export_program

        program = export_program(source)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            torch.export.save(program, destination / FILE)

    def load(self, artifact: Artifact, device: str) -> Predictor:
        """Load the program with pickled code refused."""
        import torch

        from pt_core.inference.torch_predictor import TorchPredictor, check_device

        check_device(device)
        # torch.export.load executes pickled code by two routes unless this is set when it runs.
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
        program = torch.export.load(Path(artifact.directory) / FILE)
        module = program.module().to(device)
        return TorchPredictor(module, spec=artifact.spec, provider="torch.export program", device=device)
