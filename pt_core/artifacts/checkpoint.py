"""Checkpoint: what is known about the immutable directory that training leaves."""

from __future__ import annotations

from pydantic import JsonValue

from pt_core.bundle import Bundle
from pt_core.data.dataset import Split
from pt_core.environment import Environment
from pt_core.modeling.spec import ModelSpec
from pt_core.record import Record

WEIGHTS = "model.safetensors"
TRAINING_STATE = "training_state.pt"


class EpochMetrics(Record):
    """What one epoch did."""

    epoch: int
    """Number of the epoch, from 1."""
    train_loss: float
    """Mean loss over the training split, as seen by the optimizer."""
    train_accuracy: float
    """Share of training samples right, in training mode, 0 to 1."""
    validation_loss: float
    """Mean loss over the validation split."""
    validation_accuracy: float
    """Share of validation samples right, 0 to 1."""
    learning_rate: float
    """Learning rate after the epoch's last step."""
    gradient_norm: float | None
    """Greatest gradient norm before clipping; undefined where it overflowed."""
    num_skipped_steps: int
    """Steps that the gradient scaler skipped because of an overflow."""
    samples_per_s: float
    """Training samples per second."""
    num_bad_steps: int = 0
    """Steps that were skipped because the loss or the gradient was NaN or infinite."""
    loss_scale: float | None = None
    """What the gradient scaler multiplied the loss by after the epoch's last step; undefined without one."""


class LoadReport(Record):
    """What a partial load took and left."""

    loaded: tuple[str, ...]
    """Names that were loaded."""
    missing: tuple[str, ...]
    """Names that the network has and the file lacks."""
    unexpected: tuple[str, ...]
    """Names that the file has and the network lacks."""
    mismatched: tuple[str, ...]
    """One line for each name whose shape or type differs."""
    loaded_fraction: float
    """Loaded share of the network's weight elements, 0 to 1."""

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each tensor that was not loaded, or not there to load."""
        missing = tuple(f"{name}: missing" for name in self.missing)
        unexpected = tuple(f"{name}: unexpected" for name in self.unexpected)
        return (*self.mismatched, *missing, *unexpected)


class StartedFrom(Record):
    """The checkpoint that training started from."""

    digest: str
    """Its digest."""
    directory: str
    """Where it was."""
    strict: bool
    """Whether every tensor had to fit."""
    report: LoadReport
    """Which tensors were taken; the normalisation is that of the new data, so it is not among them."""

    @property
    def sentence(self) -> str:
        """What was loaded, in one line."""
        report = self.report
        return (
            f"started from checkpoint {self.digest[:12]}: {len(report.loaded)} tensors with "
            f"{report.loaded_fraction:.1%} of the weights loaded, {len(report.missing)} missing, "
            f"{len(report.unexpected)} unexpected, {len(report.mismatched)} mismatched"
        )


class CheckpointInfo(Record):
    """What the manifest of a checkpoint says about it."""

    spec: ModelSpec
    """The network's structure."""
    labels: tuple[str, ...]
    """Name of each class."""
    dataset_digest: str
    """Digest of the dataset bundle, its split included."""
    data_fingerprint: str
    """Fingerprint of the samples."""
    splits: tuple[Split, ...] = ()
    """Which samples stand in which split."""
    config: dict[str, JsonValue]
    """The training configuration."""
    seed: int
    """The seed of everything random."""
    precision: str
    """Precision it was trained in: fp32, bf16-mixed or fp16-mixed."""
    precision_reason: str
    """Why that precision was chosen."""
    device: str
    """Device it was trained on."""
    epoch: int
    """Number of the epoch whose weights these are."""
    history: tuple[EpochMetrics, ...]
    """Every epoch that ran."""
    num_parameters: int
    """Trainable weight elements."""
    environment: Environment
    """Machine, libraries and Git commit."""
    num_frozen_parameters: int = 0
    """Weight elements that were not trained: by ``model.freeze`` or by the network's own code."""
    frozen: tuple[str, ...] = ()
    """Names of the parameters that ``model.freeze`` held, in the network's own code."""
    flops_per_sample: int | None = None
    """Floating-point operations of one sample's forward pass, a multiplication and an addition counted as two;
    undefined where torch cannot count them."""
    warm_start: StartedFrom | None = None
    """The checkpoint whose weights training started with; null where they were drawn."""
    micro_batch: int | None = None
    """Samples of each forward pass, where the batch was halved because memory ran out."""
    remarks: tuple[str, ...] = ()
    """What happened on the way, one sentence each: where it went on after an interruption, what was set aside."""


class Checkpoint(CheckpointInfo, Bundle):
    """A checkpoint on disk."""
