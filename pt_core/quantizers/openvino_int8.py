"""Quantizer "openvino-int8": INT8 weights and activations of an OpenVINO graph by NNCF, from the calibration split."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from pt_core.artifacts.artifact import Artifact, Quantization
from pt_core.artifacts.plugin import Needs, StepData
from pt_core.environment import cpu_capabilities
from pt_core.errors import DataError
from pt_core.formats.openvino_ import (
    FILE,
    InferencePrecision,
    import_openvino,
    missing_bf16,
    missing_openvino,
    read_model,
    write_model,
)
from pt_core.record import Record


class OpenVinoInt8(Record):
    """NNCF's post-training quantization."""

    name: ClassVar[str] = "openvino-int8"
    sources: ClassVar[tuple[str, ...]] = ("openvino",)
    target: ClassVar[str] = "openvino"
    needs: ClassVar[Needs] = "calibration"

    preset: Literal["mixed", "performance"] = "mixed"
    """"mixed" gives an activation that may be negative a zero point of its own; "performance" never does."""
    fast_bias_correction: bool = True
    """Whether the shift that rounding causes is corrected from one statistic a layer, which is the fast way."""
    floating_point: Literal["fp32", "bf16"] = "fp32"
    """Precision of what does not become INT8."""
    max_accuracy_drop: float | None = Field(default=None, ge=0, le=1)
    """Accuracy that INT8 may lose on the calibration split, absolute; layers stay in floating point until it does."""
    max_tries: int = Field(default=8, ge=1)
    """Networks that may be tried to keep to max_accuracy_drop, the first included."""

    def unavailable(self) -> str | None:
        """Return which package or which instruction set is missing, if one is."""
        missing = missing_openvino("openvino", "nncf")
        if missing or self.floating_point == "fp32":
            return missing
        return missing_bf16(cpu_capabilities())

    def quantize(self, source: Artifact, destination: Path, data: StepData | None) -> Quantization:
        """Quantize the graph with ranges observed on the whole calibration split.

        Raises:
            DataError: there is no calibration sample.
            NothingQuantized: no layer became INT8.
            AccuracyNotReached: no network that was tried kept to ``max_accuracy_drop``.
        """
        if data is None or not len(data.calibration.x):
            raise DataError(f"{self.name}: no calibration samples, expected at least one")
        import_openvino()
        from pt_core.quantizers.openvino_graph import describe_model
        from pt_core.quantizers.openvino_nncf import Nncf, search_kept_layers

        precision: InferencePrecision = "bf16" if self.floating_point == "bf16" else "f32"
        nncf = Nncf(
            Path(source.directory) / FILE,
            samples=data.calibration.x,
            preset=self.preset,
            fast_bias_correction=self.fast_bias_correction,
            inference_precision=precision,
        )
        if self.max_accuracy_drop is None:
            write_model(nncf.quantize(), destination, inference_precision=precision)
            return describe_model(read_model(destination / FILE), scheme=self.name)
        found = search_kept_layers(
            nncf,
            targets=data.calibration.y,
            scheme=self.name,
            max_accuracy_drop=self.max_accuracy_drop,
            max_tries=self.max_tries,
        )
        write_model(found.candidate, destination, inference_precision=precision)
        result = describe_model(read_model(destination / FILE), scheme=self.name)
        return result.model_copy(update={"tries": found.tries, "damage": found.damage})
