"""Quantizer "onnx-int8-dynamic": INT8 weights, activations quantized as they come (ONNX Runtime)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

from pt_core.artifacts.artifact import Artifact, Quantization
from pt_core.artifacts.plugin import Needs, StepData
from pt_core.formats.onnx_ import FILE, missing_packages
from pt_core.formats.onnx_runtime import OnnxRuntime
from pt_core.quantizers.onnx_graph import describe_quantization
from pt_core.record import Record


class OnnxInt8Dynamic(Record):
    """ONNX Runtime's dynamic quantization of matrix products and convolutions."""

    name: ClassVar[str] = "onnx-int8-dynamic"
    sources: ClassVar[tuple[str, ...]] = ("onnx",)
    target: ClassVar[str] = "onnx"
    needs: ClassVar[Needs] = "nothing"

    per_channel: bool = False
    """Whether each output channel has its own scale: more accurate, sometimes slower."""

    def unavailable(self) -> str | None:
        """Return which package is missing, if one is."""
        return missing_packages("onnx", "onnxruntime", "sympy")

    def quantize(self, source: Artifact, destination: Path, data: StepData | None) -> Quantization:
        """Quantize the graph.

        Raises:
            NothingQuantized: no weight became INT8.
        """
        from onnxruntime.quantization import QuantType, quantize_dynamic

        from pt_core.quantizers.ort_prepare import prepare_graph, quiet_quantizer

        with tempfile.TemporaryDirectory() as scratch, quiet_quantizer():
            prepared = prepare_graph(Path(source.directory) / FILE, Path(scratch))
            quantize_dynamic(
                prepared, destination / FILE, per_channel=self.per_channel, weight_type=QuantType.QInt8
            )
        OnnxRuntime.read(Path(source.directory)).write(destination)
        return describe_quantization(destination / FILE, scheme=self.name)
