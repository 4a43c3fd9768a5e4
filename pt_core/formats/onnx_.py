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
from pt_core.artifacts.layers import Opening
from pt_core.artifacts.plugin import INPUT_NAME, OUTPUT_NAME, Predictor
from pt_core.errors import StepFailed
from pt_core.formats.onnx_runtime import GRAPH_LEVELS, GraphLevel, OnnxRuntime, as_setting, from_setting
from pt_core.record import Record

FILE = "model.onnx"
INPUT, OUTPUT = INPUT_NAME, OUTPUT_NAME
MAX_SINGLE_FILE_BYTES = 1_500_000_000
"""Above this the weights go to a file beside the graph: protobuf ends at 2 GiB."""


class OnnxFormat(Record):
    """ONNX."""

    name: ClassVar[str] = "onnx"
    is_program: ClassVar[bool] = False
    sources: ClassVar[tuple[str, ...]] = ("torch", "exported")
    precision: ClassVar[Precision | None] = None
    through: ClassVar[tuple[str, ...]] = ("exported",)

    opset: int = Field(default=20, ge=18, le=23)
    """Version of the ONNX operators; the exporter is written for 18 and above."""
    graph_level: GraphLevel = "all"
    """How far ONNX Runtime optimises the graph when it loads; pinned in the bundle, and in what is quantized from it."""

    def unavailable(self) -> str | None:
        """Return which package is missing, if one is."""
        return missing_packages("onnx", "onnxscript", "onnxruntime")

    def convert(self, source: Artifact, destination: Path) -> None:
        """Export the network by way of torch.export, and check the graph."""
        import onnx
        import torch

        from pt_core.formats.capture import export_program

        if source.precision == "bf16":
            raise StepFailed(
                f"onnx: the source {source.chain} is bf16, which ONNX has no convolution for and ONNX Runtime no kernels "
                "on a CPU; convert from fp32, and use compiled or openvino for bf16"
            )
        program = export_program(source)
        path = destination / FILE
        with _quiet_exporter(), _refusals():
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=(
                    {0: "batch"} | {axis.axis + 1: axis.name for axis in source.spec.dynamic_axes},
                ),
                opset_version=self.opset,
                verbose=False,
            )
            assert exported is not None
            exported.save(path, external_data=source.payload_bytes > MAX_SINGLE_FILE_BYTES)
        onnx.checker.check_model(path, full_check=True)
        OnnxRuntime(graph_level=self.graph_level).write(destination)

    def load(self, artifact: Artifact, device: str) -> Predictor:
        """Open a session of ONNX Runtime on the CPU, at the graph level that the bundle pins."""
        return self.load_with(artifact, device, self.pinned_setting(artifact))

    def settings(self) -> tuple[str, ...]:
        """Return every graph level, from none to all optimisations."""
        return tuple(as_setting(level) for level in GRAPH_LEVELS)

    def pinned_setting(self, artifact: Artifact) -> str:
        """Return the graph level in the bundle."""
        return as_setting(OnnxRuntime.read(Path(artifact.directory)).graph_level)

    def load_with(self, artifact: Artifact, device: str, setting: str) -> Predictor:
        """Open a session at a given graph level."""
        from pt_core.formats.onnx_session import OnnxPredictor

        path = Path(artifact.directory) / FILE
        return OnnxPredictor(path, spec=artifact.spec, device=device, graph_level=from_setting(setting))

    def open_layers(self, artifact: Artifact, ancestors: tuple[Artifact, ...]) -> tuple[Opening, ...]:
        """Open the graph as the file has it, and as ONNX Runtime executes it."""
        from pt_core.formats.taps.onnx_ import named_values, optimized_layers, written_layers

        exported = next((found for found in ancestors if found.format == self.name), artifact)
        places = named_values(Path(exported.directory) / FILE)
        path = Path(artifact.directory) / FILE
        level = OnnxRuntime.read(path.parent).graph_level
        return (
            Opening(artifact.chain, written_layers(path, places)),
            Opening(f"{artifact.chain}, optimised", optimized_layers(path, places, level)),
        )


def missing_packages(*names: str) -> str | None:
    """Return what to install for packages that are not here, or ``None``."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(missing)}; pip install {' '.join(missing)}" if missing else None


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise what the exporter has no translation for as a failed step, with its last words only."""
    import torch

    try:
        yield
    except torch.onnx.errors.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = " ".join(str(cause).split())[:500]
        raise StepFailed(
            f"torch.onnx has no ONNX for an operation of the exported program: {reason}; write the network without it, "
            "or ship it in another format (exported, torchscript)"
        ) from error


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
