"""Quantizer "int8-qat": fine-tune the network under fake quantization, then make it INT8 (PT2E)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pt_core.artifacts.artifact import Artifact, Quantization
from pt_core.artifacts.plugin import Needs, StepData
from pt_core.errors import DataError, StepFailed
from pt_core.formats.onnx_ import missing_packages
from pt_core.record import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pt_core.training.config import TrainConfig

MAX_NOISE_TO_SIGNAL = 0.001
"""Of the INT8 graph's logits against those it was trained to under fake quantization: an SQNR of 30 dB."""


class Int8Qat(Record):
    """Quantization-aware training by torchao's PT2E with its X86 quantizer, on the CPU."""

    name: ClassVar[str] = "int8-qat"
    sources: ClassVar[tuple[str, ...]] = ("torch",)
    target: ClassVar[str] = "exported"
    needs: ClassVar[Needs] = "training"

    epochs: int = Field(default=10, ge=1, le=1000)
    """Passes over the training split; in the last third batch normalisation and ranges are frozen."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate of the first step; a cosine takes it to 0. A tenth of the training's is usual."""
    batch_size: int = Field(default=64, ge=2)
    """Samples per step."""
    seed: int = 0
    """Seed of the order of the samples and of dropout."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Autocast precision of the training; auto picks bf16 where this CPU has it in hardware."""
    reduce_range: bool = False
    """Whether activations use 7 bits: for x86 CPUs without VNNI, whose INT8 sums overflow with 8."""

    def unavailable(self) -> str | None:
        """Return which package is missing, if one is."""
        return missing_packages("torchao")

    def quantize(self, source: Artifact, destination: Path, data: StepData | None) -> Quantization:
        """Fine-tune on the training split, keep the best epoch on the calibration split, and make it INT8.

        Raises:
            DataError: there is no training or no calibration sample.
            NothingQuantized: no weight became INT8.
            StepFailed: the loss became NaN or infinite, or the INT8 graph is not what was trained.
        """
        if data is None or data.training is None or not (len(data.training.x) and len(data.calibration.x)):
            raise DataError(
                f"{self.name}: needs training and calibration samples, expected at least one of each"
            )
        from pt_core.devices import resolve_precision
        from pt_core.formats.capture import capture, example_inputs
        from pt_core.formats.torch_ import load_module
        from pt_core.quantizers.pt2e import (
            describe_int8,
            make_int8,
            prepare_training,
            run_batches,
            write_int8,
        )
        from pt_core.quantizers.qat_training import fine_tune, settle_epsilons

        # As its structure says it is, which may have normalisations folded, and able to learn again.
        network = load_module(source).requires_grad_(requires_grad=True).train()
        settle_epsilons(network)
        program = capture(network, example_inputs(source), axes=source.spec.dynamic_axes)
        prepared = prepare_training(program, reduce_range=self.reduce_range)
        choice = {"auto": "auto", "fp32": "fp32", "bf16": "bf16-mixed"}[self.precision]
        precision = resolve_precision(choice, "cpu").precision
        fine_tune(prepared, data, self._config(), seed=self.seed, precision=precision)
        samples = data.calibration.x[: 4 * self.batch_size]
        trained = run_batches(prepared, samples, batch_size=self.batch_size).numpy()
        graph = make_int8(prepared)
        made = run_batches(graph, samples, batch_size=self.batch_size).numpy()
        self._check(made, trained)
        result = describe_int8(graph, scheme=self.name)
        write_int8(graph, source, destination)
        return result.model_copy(update={"is_retrained": True})

    def _config(self) -> TrainConfig:
        from pt_core.training.config import TrainConfig

        return TrainConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule="cosine",
            # Smoothed targets flatten what lies between two classes, which is where INT8 decides.
            label_smoothing=0.0,
            max_bad_steps=0,
            device="cpu",
            channels_last=False,
        )

    def _check(self, made: NDArray[np.float32], trained: NDArray[np.float32]) -> None:
        """Compare the INT8 graph with its own fake quantization: the reference's logits are no measure any more."""
        from pt_core.quantizers.accuracy_aware import noise_to_signal

        noise = noise_to_signal(made, trained)
        if not noise <= MAX_NOISE_TO_SIGNAL:
            raise StepFailed(
                f"{self.name}: the INT8 graph's logits differ from those under fake quantization by a "
                f"noise-to-signal ratio of {noise:.3g}, expected at most {MAX_NOISE_TO_SIGNAL:g}; use int8-static"
            )
