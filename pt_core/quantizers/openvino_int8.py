"""Quantizer "openvino-int8": INT8 weights and activations of an OpenVINO graph by NNCF, from the calibration split."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pt_core.artifacts.artifact import Artifact, Quantization
from pt_core.artifacts.plugin import Needs, StepData
from pt_core.environment import cpu_capabilities
from pt_core.errors import DataError, NothingQuantized
from pt_core.formats.openvino_ import (
    FILE,
    import_openvino,
    missing_bf16,
    missing_openvino,
    read_model,
    write_model,
)
from pt_core.quantizers.openvino_graph import describe_model
from pt_core.record import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OpenVinoInt8(Record):
    """NNCF's post-training quantization."""

    name: ClassVar[str] = "openvino-int8"
    sources: ClassVar[tuple[str, ...]] = ("openvino",)
    target: ClassVar[str] = "openvino"
    needs: ClassVar[Needs] = "calibration"

    preset: Literal["mixed", "performance"] = "mixed"
    """"mixed" gives activations a zero point where they are on one side of zero; "performance" never does."""
    fast_bias_correction: bool = True
    """Whether the shift that rounding causes is corrected layer by layer on its own, which is the fast way."""
    floating_point: Literal["fp32", "bf16"] = "fp32"
    """Precision of what does not become INT8."""

    def unavailable(self) -> str | None:
        """Return which package or which instruction set is missing, if one is."""
        wants_bf16 = self.floating_point == "bf16"
        return missing_openvino("openvino", "nncf") or (
            missing_bf16(cpu_capabilities()) if wants_bf16 else None
        )

    def quantize(self, source: Artifact, destination: Path, data: StepData | None) -> Quantization:
        """Quantize the graph with ranges observed on the whole calibration split.

        Raises:
            DataError: there is no calibration sample.
            NothingQuantized: no layer became INT8.
        """
        if data is None or not len(data.calibration.x):
            raise DataError(f"{self.name}: no calibration samples, expected at least one")
        quantized = self._quantize(read_model(Path(source.directory) / FILE), data.calibration.x)
        precision: Literal["f32", "bf16"] = "f32" if self.floating_point == "fp32" else "bf16"
        write_model(quantized, destination, inference_precision=precision)
        # Counted from what is on disk, where NNCF's weights are INT8 and no longer promises to be.
        return describe_model(read_model(destination / FILE), scheme=self.name)

    def _quantize(self, model: Any, samples: NDArray[np.float32]) -> Any:
        nncf = _import_nncf()
        # Nothing in it is drawn at random: all samples are read, one by one and in order.
        try:
            return nncf.quantize(
                model,
                nncf.Dataset([sample[None] for sample in samples]),
                preset=nncf.QuantizationPreset(self.preset),
                subset_size=len(samples),
                fast_bias_correction=self.fast_bias_correction,
            )
        except nncf.UnsupportedModelError as error:
            raise NothingQuantized(
                f"{self.name}: NNCF does not quantize this graph: {str(error)[:1000]}"
            ) from error


def _import_nncf() -> Any:
    import_openvino()
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf
