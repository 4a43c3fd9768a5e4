"""Artifact: a deployable bundle of any format, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue

from pt_core.bundle import Bundle, open_bundle, read_info
from pt_core.environment import Environment
from pt_core.modeling.spec import ModelSpec
from pt_core.record import Record

GOLDEN = "golden.safetensors"
"""Tensors ``inputs`` (N, *input_shape) float32 and ``logits`` (N, num_classes) float32, in every bundle."""

Precision = Literal["fp32", "bf16", "fp16", "int8"]


class Step(Record):
    """One link of a variant's chain: a registered step and its options."""

    name: str
    """Name of a registered format or quantizer."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Its options; the step's own fields and defaults are the reference."""

    @property
    def label(self) -> str:
        """Its name, with a short digest of its options where any are set, so that no two steps share one."""
        return f"{self.name}@{self.content_digest()[:6]}" if self.options else self.name


class QuantizationTry(Record):
    """One network that accuracy-aware quantization made and measured on the calibration split."""

    kept_layers: tuple[str, ...]
    """Layers that stayed in floating point on purpose, the most damaging first."""
    accuracy: float = Field(ge=0, le=1)
    """Share of calibration samples right, 0 to 1."""
    accuracy_drop: float = Field(ge=-1, le=1)
    """Accuracy of the floating point network on the same samples, less this one's."""
    seconds: float = Field(ge=0)
    """What it took to make and to measure."""


class LayerDamage(Record):
    """What one layer does to the logits when it alone is INT8."""

    layer: str
    """Name of the layer."""
    damage: float = Field(ge=0)
    """Noise over signal of the calibration logits, each row less its mean: 10^(-SQNR/10)."""


class Quantization(Record):
    """What a quantizer really changed."""

    scheme: str
    """Name of the quantizer."""
    quantized_layers: tuple[str, ...]
    """Names of the layers (or graph nodes) that now compute in INT8."""
    kept_layers: tuple[str, ...]
    """Names of the layers with weights that stayed in floating point."""
    weight_share: float = Field(ge=0, le=1)
    """Share of the model's weight elements stored as INT8."""
    calibration_ids_sha256: str | None = None
    """Digest of the calibration sample ids, where calibration was needed."""
    num_calibration_samples: int | None = None
    """How many samples calibrated it."""
    is_retrained: bool = False
    """Whether the weights were trained on, so that the logits differ from the reference's by right."""
    tries: tuple[QuantizationTry, ...] = ()
    """What accuracy-aware quantization tried; empty where it was off."""
    damage: tuple[LayerDamage, ...] = ()
    """The layers by damage, the worst first; empty where they were not ranked."""

    @classmethod
    def of_weights(cls, scheme: str, *, quantized: Mapping[str, int], kept: Mapping[str, int]) -> Self:
        """Return what a quantizer changed, from the number of weight elements by layer; a layer may be in both."""
        num_int8 = sum(quantized.values())
        return cls(
            scheme=scheme,
            quantized_layers=tuple(quantized),
            kept_layers=tuple(name for name in kept if name not in quantized),
            weight_share=num_int8 / (num_int8 + sum(kept.values())),
        )


class ParityPoint(Record):
    """Agreement with the reference on one batch."""

    batch_size: int
    """Samples in the batch."""
    sample_shape: tuple[int, ...] | None = None
    """Shape of one sample, where a declared dynamic axis has another size than in training."""
    max_abs_error: float
    """Largest absolute difference of a logit, as it is."""
    relative_error: float
    """The same of centred logits (each row less its mean), divided by the largest absolute centred reference logit."""
    cosine: float
    """Cosine of the two centred logit tensors, flattened."""
    sqnr_db: float | None = None
    """Power of the centred reference logits over that of their error, in decibels; undefined without an error."""
    top1_agreement: float
    """Share of samples with the same predicted class, 0 to 1."""


class SettingParity(Record):
    """Agreement with the reference under one of the settings that a runtime can execute the artifact with."""

    setting: str
    """The setting, e.g. ``graph_level=basic``."""
    max_relative_error: float | None
    """Largest relative error of the grid; undefined where no batch could be compared."""
    holds: bool
    """Whether every batch of the grid is within the tolerance."""
    reason: str | None = None
    """What is wrong, where it does not hold."""


class Parity(Record):
    """Proof that an artifact computes what its reference computes, on every batch of a grid."""

    precision: Precision
    """Precision that decided the tolerance."""
    max_relative_error: float
    """The tolerance on ``relative_error``."""
    self_max_abs_error: float
    """The reference against itself on the same inputs; above zero means randomness."""
    points: tuple[ParityPoint, ...]
    """One per batch size, then one per size of each declared dynamic axis."""
    is_bound: bool = True
    """Whether the points are held to the tolerance; not where the weights were trained on after the reference."""
    settings: tuple[SettingParity, ...] = ()
    """One per setting of its runtime, least optimised first; empty where there is nothing to set."""
    pinned: str | None = None
    """The setting that the points were measured under and that every later use has, where there are settings."""


class ArtifactInfo(Record):
    """What the manifest of an artifact says about it."""

    format: str
    """Name of the format that loads it."""
    precision: Precision
    """Precision of its weights where it counts."""
    steps: tuple[Step, ...]
    """The chain from the checkpoint to here; empty for the reference."""
    checkpoint_digest: str
    """Digest of the checkpoint it comes from."""
    parent_digest: str
    """Digest of the bundle its last step read."""
    spec: ModelSpec
    """The network and its input."""
    labels: tuple[str, ...]
    """Name of each class, in the order of the logits."""
    payload: tuple[str, ...]
    """The files that are shipped for inference, golden outputs left out."""
    payload_bytes: int
    """Their size together."""
    quantization: Quantization | None
    """What was quantized, if anything."""
    parity: Parity | None
    """Agreement with the reference; ``None`` only for the reference itself and for what was not run."""
    environment: Environment
    """Where it was built."""
    passport: dict[str, JsonValue] | None = None
    """What it was built by and for, where its format runs on one kind of device only."""
    checks: tuple[str, ...] = ()
    """What was checked of it without running it, one sentence each, where its format can."""
    not_run: str | None = None
    """Why it could not be run where it was built; then it was compared with nothing and counts as not measured."""

    @property
    def chain(self) -> str:
        """Its steps as people read them, e.g. ``onnx > onnx-int8-static``; the reference is ``torch``."""
        return " > ".join(step.label for step in self.steps) or "torch"


class Artifact(ArtifactInfo, Bundle):
    """An artifact on disk: its description, its directory, and the digest of every byte."""


def open_artifact(directory: Path) -> Artifact:
    """Check an artifact's bytes, then read its description; who wrote them, :func:`pt_core.artifacts.guard.vouch` says.

    Raises:
        IntegrityError: the bytes are not what the manifest says, or they describe no artifact.
    """
    bundle, manifest = open_bundle(directory, kind="artifact")
    return read_info(bundle, manifest, Artifact)
