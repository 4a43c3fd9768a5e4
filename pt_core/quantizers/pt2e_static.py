"""Quantizer "int8-static": INT8 weights and activations of a captured program, ranges from the calibration split (PT2E)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pt_core.artifacts.artifact import Artifact, LayerDamage, Quantization
from pt_core.artifacts.plugin import Needs, StepData
from pt_core.errors import DataError
from pt_core.formats.onnx_ import missing_packages
from pt_core.record import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

    from pt_core.quantizers.accuracy_aware import Found

BATCH_SIZE = 32
"""Samples read at once, to calibrate and to measure."""


class Int8Static(Record):
    """Post-training static quantization by torchao's PT2E with its X86 quantizer."""

    name: ClassVar[str] = "int8-static"
    sources: ClassVar[tuple[str, ...]] = ("torch",)
    target: ClassVar[str] = "exported"
    needs: ClassVar[Needs] = "calibration"

    reduce_range: bool = False
    """Whether activations use 7 bits: for x86 CPUs without VNNI, whose INT8 sums overflow with 8."""
    max_accuracy_drop: float | None = Field(default=None, ge=0, le=1)
    """Accuracy that INT8 may lose on the calibration split, absolute; layers stay in floating point until it does."""
    max_tries: int = Field(default=8, ge=1)
    """Networks that may be tried to keep to max_accuracy_drop, the first included."""

    def unavailable(self) -> str | None:
        """Return which package is missing, if one is."""
        return missing_packages("torchao")

    def quantize(self, source: Artifact, destination: Path, data: StepData | None) -> Quantization:
        """Quantize convolutions and linear layers, with ranges observed on the calibration split.

        Raises:
            DataError: there is no calibration sample.
            NothingQuantized: no weight became INT8.
            AccuracyNotReached: no network that was tried kept to ``max_accuracy_drop``.
        """
        if data is None or not len(data.calibration.x):
            raise DataError(f"{self.name}: no calibration samples, expected at least one")
        from pt_core.formats.capture import export_program
        from pt_core.quantizers.pt2e import describe_int8, write_int8

        program = export_program(source)
        if self.max_accuracy_drop is None:
            graph, extra = self._make(program, data, kept=()), {}
        else:
            found = self._search(program, data, max_accuracy_drop=self.max_accuracy_drop)
            graph, extra = found.candidate, {"tries": found.tries, "damage": found.damage}
        result = describe_int8(graph, scheme=self.name)
        write_int8(graph, source, destination)
        return result.model_copy(update=extra)

    def _observe(self, program: ExportedProgram, data: StepData, *, kept: tuple[str, ...]) -> GraphModule:
        from pt_core.quantizers.pt2e import prepare_static, run_batches

        prepared = prepare_static(program, kept=kept, reduce_range=self.reduce_range)
        run_batches(prepared, data.calibration.x, batch_size=BATCH_SIZE)
        return prepared

    def _make(self, program: ExportedProgram, data: StepData, *, kept: tuple[str, ...]) -> GraphModule:
        from pt_core.quantizers.pt2e import make_int8

        return make_int8(self._observe(program, data, kept=kept))

    def _search(
        self, program: ExportedProgram, data: StepData, *, max_accuracy_drop: float
    ) -> Found[GraphModule]:
        from pt_core.quantizers.accuracy_aware import accuracy, rank_layers, search
        from pt_core.quantizers.pt2e import layers_with_weights, make_int8, only_layer, run_batches

        samples = data.calibration

        def logits_of(graph: Any) -> NDArray[np.float32]:
            return run_batches(graph, samples.x, batch_size=BATCH_SIZE).numpy()

        def rank() -> tuple[LayerDamage, ...]:
            # Observed once, not once a layer: the ranges of a layer's input do not depend on the others' precision.
            observed = self._observe(program, data, kept=())
            return rank_layers(
                layers_with_weights(program),
                lambda layer: logits_of(make_int8(only_layer(observed, layer))),
                expected,
            )

        expected = logits_of(program.module())
        return search(
            lambda kept: self._make(program, data, kept=kept),
            lambda graph: accuracy(logits_of(graph), samples.y),
            rank,
            scheme=self.name,
            float_accuracy=accuracy(expected, samples.y),
            max_accuracy_drop=max_accuracy_drop,
            max_tries=self.max_tries,
        )
