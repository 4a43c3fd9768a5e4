"""TrainConfig: how to train."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from pt_core.record import Record
from pt_core.training.parallel_config import ParallelConfig
from pt_core.training.recipes import OptimizerName, check_options

PrecisionChoice = Literal["auto", "fp32", "bf16-mixed", "fp16-mixed"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]

_READ_BY = {
    "momentum": ("optimizer", "sgd"),
    "plateau_patience": ("schedule", "plateau"),
    "plateau_factor": ("schedule", "plateau"),
}
"""Settings that only one choice of another setting reads; set beside another choice they are refused."""

EXECUTION_FIELDS = frozenset(
    {
        "checkpoint_every_steps",
        "checkpoint_every_minutes",
        "keep_checkpoints",
        "max_bad_steps",
        "on_out_of_memory",
    }
)
"""What may change between an interrupted run and the one that continues it: no step computes anything else."""


class TrainConfig(Record):
    """How to train."""

    epochs: int = Field(default=20, ge=1, le=10_000)
    """Passes over the training split."""
    batch_size: int = Field(default=64, ge=2)
    """Samples per forward pass; accumulation_steps of them make one optimizer step."""
    accumulation_steps: int = Field(default=1, ge=1)
    """Batches whose gradients are averaged for one optimizer step."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Greatest learning rate of the schedule."""
    optimizer: OptimizerName = "adamw"
    """How weights are updated: a class of torch.optim, in lower case."""
    optimizer_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Options of that class, e.g. {betas: [0.9, 0.95]}; one that it does not take is refused."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Decoupled weight decay (AdamW, Adafactor) or L2 penalty (the others); Rprop has none."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD alone; RMSprop has its own in optimizer_options."""
    schedule: Literal["one-cycle", "cosine", "constant", "plateau"] = "one-cycle"
    """How the learning rate moves over the steps; plateau lowers it where the validation loss stands still."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs, also parts of one, over which the rate first rises linearly; one-cycle rises by itself."""
    plateau_patience: int = Field(default=3, ge=0)
    """Epochs without a better validation loss before schedule plateau lowers the rate."""
    plateau_factor: float = Field(default=0.1, gt=0, lt=1)
    """What schedule plateau multiplies the rate by."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target spread over the other classes."""
    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    """Weight of each class in the loss, or balanced for the inverse of its frequency; scaled to a mean of 1."""
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    """shuffle shows every sample once an epoch; balanced draws every class equally often, with replacement."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an average of the weights, which is then what is evaluated and kept; null keeps the weights."""
    max_gradient_norm: float | None = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm (after unscaling); null switches clipping off."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Epochs without a better validation loss before training stops; null never stops early."""
    max_bad_steps: int = Field(default=10, ge=0)
    """Steps with a NaN or infinite loss or gradient that are skipped; one more ends the training.

    0 looks at the losses only every 256 steps, so that a GPU never waits for Python.
    """
    on_out_of_memory: Literal["fail", "halve-batch"] = "fail"
    """Whether a training that runs out of memory fails, or goes on once with half the batch, accumulating twice."""
    checkpoint_every_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps between two checkpoints that an interrupted run continues from."""
    checkpoint_every_minutes: float | None = Field(default=5.0, gt=0)
    """Minutes between two of them; whichever comes first. With both null none is written."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of them are kept; all are removed once the training has ended well."""
    precision: PrecisionChoice = "auto"
    """Autocast precision; auto picks bf16 where the hardware has it, fp16 with GradScaler on other GPUs, else fp32."""
    device: DeviceChoice = "auto"
    """Where to train; auto picks CUDA, then MPS, then the CPU."""
    channels_last: bool = True
    """Whether image batches use the channels_last memory format, faster on CPU and GPU."""
    parallel: ParallelConfig = ParallelConfig()
    """Processes or devices that share each step: none, dp, ddp or model_parallel."""

    @property
    def step_size(self) -> int:
        """Samples per optimizer step."""
        return self.batch_size * self.accumulation_steps

    @model_validator(mode="after")
    def _options_are_known(self) -> Self:
        check_options(self.optimizer, self.optimizer_options)
        return self

    @model_validator(mode="after")
    def _settings_are_read(self) -> Self:
        for name, (owner, choice) in _READ_BY.items():
            value, chosen = getattr(self, name), getattr(self, owner)
            if value != type(self).model_fields[name].default and chosen != choice:
                raise ValueError(
                    f"{name}: {value}, but {owner} {chosen} does not read it; leave it out, or set {owner} to {choice}"
                )
        return self

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        strategy, num = self.parallel.strategy, self.parallel.world_size
        if self.batch_size < num:
            raise ValueError(
                f"batch_size: {self.batch_size} samples for {num} processes; raise it, or set parallel.processes lower"
            )
        if self.device == "mps" and strategy in ("ddp", "model_parallel"):
            raise ValueError(
                f"parallel.strategy: {strategy} does not run on mps; set device to cpu, or the strategy to none"
            )
        kinds = {name.partition(":")[0] for name in self.parallel.devices or ()}
        if len(kinds) > 1 and self.precision != "fp32":
            raise ValueError(
                f"precision: {self.precision}, but stages on {' and '.join(sorted(kinds))} share no mixed precision; "
                "set precision to fp32"
            )
        return self

    @model_validator(mode="after")
    def _works_together(self) -> Self:
        if self.schedule == "one-cycle" and self.warmup_epochs:
            raise ValueError(
                "warmup_epochs: one-cycle rises by itself over the first 30 % of the steps; "
                "leave it out, or set schedule to cosine, constant or plateau"
            )
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs: {self.warmup_epochs:g} of {self.epochs} epochs; the rise must end before the training"
            )
        if self.class_weights == "balanced" and self.sampler == "balanced":
            raise ValueError(
                "class_weights: balanced, and sampler balanced too, would balance twice; choose one"
            )
        if isinstance(self.class_weights, tuple) and not all(
            0 < weight < float("inf") for weight in self.class_weights
        ):
            raise ValueError(
                f"class_weights: {list(self.class_weights)}, expected a positive number for each class"
            )
        return self
