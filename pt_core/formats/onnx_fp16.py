"""Rewrite "onnx-fp16": the ONNX graph in half precision, its input and output still float32."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.errors import StepFailed
from pt_core.formats.onnx_ import FILE, missing_packages
from pt_core.formats.onnx_runtime import OnnxRuntime
from pt_core.record import Record

LARGEST = 65504.0
"""Greatest finite float16."""


class OnnxFp16(Record):
    """FP16 by ONNX Runtime's converter: half the bytes; fast on GPUs, where TensorRT computes what the graph says."""

    name: ClassVar[str] = "onnx-fp16"
    sources: ClassVar[tuple[str, ...]] = ("onnx",)
    target: ClassVar[str] = "onnx"
    precision: ClassVar[Precision | None] = "fp16"

    def unavailable(self) -> str | None:
        """Return which package is missing, if one is."""
        return missing_packages("onnx", "onnxruntime", "sympy")

    def rewrite(self, source: Artifact, destination: Path) -> None:
        """Convert weights and operators, with a cast behind the input and one before the output.

        Raises:
            StepFailed: the source is not fp32, or a weight is too large for float16.
        """
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel

        if source.precision != "fp32":
            raise StepFailed(
                f"{self.name}: the source {source.chain} is {source.precision}, expected fp32; "
                "quantize or cast, not both"
            )
        model = onnx.load(Path(source.directory) / FILE)
        _refuse_overflow(model.graph)
        model = convert_float_to_float16(model, keep_io_types=True)
        # The converter appends its casts at the end of the list of nodes, where the checker refuses them.
        OnnxModel(model).topological_sort()
        onnx.save(model, destination / FILE)
        OnnxRuntime.read(Path(source.directory)).write(destination)
        onnx.checker.check_model(destination / FILE, full_check=True)


def _refuse_overflow(graph: Any) -> None:
    """Refuse what the converter would clip to the greatest float16 without a word."""
    import numpy as np
    from onnx import TensorProto, numpy_helper

    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        largest = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))
        if not (math.isfinite(largest) and largest <= LARGEST):
            raise StepFailed(
                f"onnx-fp16: weight {tensor.name} reaches {largest:.3g}, above {LARGEST:g}, the greatest float16; "
                "use bf16 or keep fp32"
            )
