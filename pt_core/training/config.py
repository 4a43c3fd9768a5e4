"""TrainConfig: how to train."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pt_core.record import Record

PrecisionChoice = Literal["auto", "fp32", "bf16-mixed", "fp16-mixed"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]


class TrainConfig(Record):
    """How to train."""

    epochs: int = Field(default=20, ge=1, le=10_000)
    """Passes over the training split."""
    batch_size: int = Field(default=64, ge=2)
    """Samples per step."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Greatest learning rate of the schedule."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """How weights are updated."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Decoupled weight decay (AdamW) or L2 penalty (SGD)."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD; AdamW ignores it."""
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    """How the learning rate moves over the steps."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target spread over the other classes."""
    max_gradient_norm: float | None = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm (after unscaling); null switches clipping off."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Epochs without a better validation loss before training stops; null never stops early."""
    precision: PrecisionChoice = "auto"
    """Autocast precision; auto picks bf16 where the hardware has it, fp16 with GradScaler on other GPUs, else fp32."""
    device: DeviceChoice = "auto"
    """Where to train; auto picks CUDA, then MPS, then the CPU."""
    channels_last: bool = True
    """Whether image batches use the channels_last memory format, faster on CPU and GPU."""
