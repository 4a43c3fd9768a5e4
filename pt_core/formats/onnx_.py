"""Format "onnx": one graph with a dynamic batch, input "input" and output "logits", run by ONNX Runtime."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.artifacts.plugin import Predictor
from pt_core.record import Record

FILE = "model.onnx"
INPUT, OUTPUT = "input", "logits"
MAX_SINGLE_FILE_BYTES = 1_500_000_000
"""Above this the weights go to a file beside the graph: protobuf ends at 2 GiB."""


class OnnxFormat(Record):
    """ONNX."""

    name: ClassVar[str] = "onnx"
    sources: ClassVar[tuple[str, ...]] = ("torch", "exported")
    precision: ClassVar[Precision | None] = None

    opset: int = Field(default=20, ge=18, le=23)
    """Version of the ONNX operators; the exporter is written for 18 and above."""

    def unavailable(self) -> str | None:
        """Return which package is missing, if one is."""
        return missing_packages("onnx", "onnxscript", "onnxruntime")

    def convert(self, source: Artifact, destination: Path) -> None:
        """Export the network by way of torch.export, and check the graph."""
        import onnx
        import torch

        from pt_core.formats.capture import export_program

        program = export_program(source)
        path = destination / FILE
        with _quiet_exporter():
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: "batch"},),
                opset_version=self.opset,
                verbose=False,
            )
            assert exported is not None
            exported.save(path, external_data=source.payload_bytes > MAX_SINGLE_FILE_BYTES)
        onnx.checker.check_model(path, full_check=True)

    def load(self, artifact: Artifact, device: str) -> Predictor:
        """Open a session of ONNX Runtime on the CPU."""
        from pt_core.formats.onnx_session import OnnxPredictor

        return OnnxPredictor(Path(artifact.directory) / FILE, spec=artifact.spec, device=device)


def missing_packages(*names: str) -> str | None:
    """Return what to install for packages that are not here, or ``None``."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(missing)}; pip install {' '.join(missing)}" if missing else None


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    # The exporter logs a warning per operator of torchvision, which the product does not use.
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            yield
    finally:
        logger.setLevel(before)
