"""Quantizer "onnx-int8-static": INT8 weights and activations by QDQ nodes, ranges from the calibration split."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from pt_core.artifacts.artifact import Artifact, Quantization
from pt_core.artifacts.plugin import Needs, StepData
from pt_core.errors import DataError
from pt_core.formats.onnx_ import FILE, missing_packages
from pt_core.formats.onnx_runtime import OnnxRuntime
from pt_core.quantizers.onnx_graph import describe_quantization
from pt_core.record import Record


class OnnxInt8Static(Record):
    """ONNX Runtime's static quantization."""

    name: ClassVar[str] = "onnx-int8-static"
    sources: ClassVar[tuple[str, ...]] = ("onnx",)
    target: ClassVar[str] = "onnx"
    needs: ClassVar[Needs] = "calibration"

    per_channel: bool = True
    """Whether each output channel has its own scale: more accurate, rarely slower."""
    method: Literal["minmax", "percentile"] = "minmax"
    """How activation ranges come from the calibration samples; "percentile" clips outliers.

    ONNX Runtime's "entropy" is left out: with its default bins it measured the same graph as minmax.
    """

    runtime: Literal["onnxruntime", "tensorrt"] = "onnxruntime"
    """Whose rules to keep: "tensorrt" makes weights and activations symmetric and leaves biases in floating point,
    which TensorRT demands; ONNX Runtime runs either."""

    def unavailable(self) -> str | None:
        """Return which package is missing, if one is."""
        return missing_packages("onnx", "onnxruntime", "sympy")

    max_accuracy_drop: float | None = Field(default=None, ge=0, le=1)
    """Accuracy that INT8 may lose on the calibration split, absolute; layers stay in floating point until it does."""
    max_tries: int = Field(default=8, ge=1)
    """Networks that may be tried to keep to max_accuracy_drop, the first included."""

    def quantize(self, source: Artifact, destination: Path, data: StepData | None) -> Quantization:
        """Quantize the graph with ranges observed on the calibration split.

        Raises:
            DataError: there is no calibration sample.
            NothingQuantized: no weight became INT8.
            AccuracyNotReached: no graph that was tried kept to ``max_accuracy_drop``.
        """
        if data is None or not len(data.calibration.x):
            raise DataError(f"{self.name}: no calibration samples, expected at least one")
        from pt_core.quantizers.ort_graph import StaticGraph, search_kept_layers
        from pt_core.quantizers.ort_prepare import quiet_quantizer

        changes: dict[str, object] = {}
        with tempfile.TemporaryDirectory() as scratch, quiet_quantizer():
            graph = StaticGraph(
                Path(source.directory) / FILE,
                Path(scratch),
                samples=data.calibration.x,
                per_channel=self.per_channel,
                method=self.method,
                runtime=self.runtime,
            )
            if self.max_accuracy_drop is None:
                made = graph.quantize()
            else:
                found = search_kept_layers(
                    graph,
                    targets=data.calibration.y,
                    spec=source.spec,
                    scheme=self.name,
                    max_accuracy_drop=self.max_accuracy_drop,
                    max_tries=self.max_tries,
                )
                made, changes = found.candidate, {"tries": found.tries, "damage": found.damage}
            shutil.copyfile(made, destination / FILE)
        OnnxRuntime.read(Path(source.directory)).write(destination)
        return describe_quantization(destination / FILE, scheme=self.name).model_copy(update=changes)
