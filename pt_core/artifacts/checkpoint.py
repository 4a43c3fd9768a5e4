"""Checkpoint: what is known about the immutable directory that training leaves."""

from __future__ import annotations

from pydantic import JsonValue

from pt_core.bundle import Bundle
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


class Checkpoint(CheckpointInfo, Bundle):
    """A checkpoint on disk."""
