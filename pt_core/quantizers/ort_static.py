"""Quantizer "onnx-int8-static": INT8 weights and activations by QDQ nodes, ranges from the calibration split."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pt_core.artifacts.artifact import Artifact, Quantization
from pt_core.artifacts.plugin import Needs, StepData
from pt_core.errors import DataError
from pt_core.formats.onnx_ import FILE, INPUT, missing_packages
from pt_core.formats.onnx_runtime import OnnxRuntime
from pt_core.quantizers.onnx_graph import describe_quantization
from pt_core.record import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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

    def quantize(self, source: Artifact, destination: Path, data: StepData | None) -> Quantization:
        """Quantize the graph with ranges observed on the calibration split.

        Raises:
            DataError: there is no calibration sample.
            NothingQuantized: no weight became INT8.
        """
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        from pt_core.quantizers.ort_prepare import prepare_graph, quiet_quantizer

        if data is None or not len(data.calibration.x):
            raise DataError(f"{self.name}: no calibration samples, expected at least one")
        symmetric = self.runtime == "tensorrt"
        methods = {
            "minmax": CalibrationMethod.MinMax,
            "percentile": CalibrationMethod.Percentile,
        }
        with tempfile.TemporaryDirectory() as scratch, quiet_quantizer():
            prepared = prepare_graph(Path(source.directory) / FILE, Path(scratch))
            quantize_static(
                prepared,
                destination / FILE,
                _Reader(data.calibration.x),
                quant_format=QuantFormat.QDQ,
                per_channel=self.per_channel,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=methods[self.method],
                extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
                if symmetric
                else {},
            )
        OnnxRuntime.read(Path(source.directory)).write(destination)
        return describe_quantization(destination / FILE, scheme=self.name)


class _Reader:
    """Feed calibration samples one by one, in order, once: histograms refuse a last batch of another size."""

    def __init__(self, samples: NDArray[np.float32]) -> None:
        self._samples: Iterator[NDArray[np.float32]] = iter(samples)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next sample by input name, or ``None`` at the end."""
        sample = next(self._samples, None)
        return None if sample is None else {INPUT: sample[None]}
