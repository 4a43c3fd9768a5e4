"""PipelineConfig: one strict YAML file, composed from the configuration of every stage."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Self

from pydantic import Field, model_validator

from pt_core.building.plan import Variant
from pt_core.data.config import DataConfig
from pt_core.decision.config import GateConfig
from pt_core.evaluation.config import EfficiencyConfig, EvaluationConfig
from pt_core.evaluation.measures import may_be_slice, measure_names
from pt_core.evaluation.scores import SLICE_METRICS
from pt_core.limits import Limits, total_memory_bytes
from pt_core.modeling.spec import ModelConfig
from pt_core.record import Record
from pt_core.training.config import TrainConfig
from tasks.promotion import PromotionConfig

_MEMORY_SHARE = 0.9


class LimitsConfig(Record):
    """What one step may take before it is stopped."""

    train_timeout_s: float = Field(default=86_400, gt=0)
    """Seconds for the training."""
    train_memory_gib: float | None = Field(default=None, gt=0)
    """Memory for the training, in GiB; null is nine tenths of what this machine or its container has."""
    step_timeout_s: float = Field(default=900, gt=0)
    """Seconds for each conversion, quantization, evaluation or measurement."""
    step_memory_gib: float | None = Field(default=None, gt=0)
    """Memory for each of them, in GiB; null is nine tenths of what this machine or its container has."""

    def for_training(self) -> Limits:
        """Return the limits of the training."""
        return Limits(timeout_s=self.train_timeout_s, max_memory_bytes=_bytes(self.train_memory_gib))

    def for_step(self) -> Limits:
        """Return the limits of every other step."""
        return Limits(timeout_s=self.step_timeout_s, max_memory_bytes=_bytes(self.step_memory_gib))


def _bytes(gib: float | None) -> int:
    """Return a limit of memory in bytes; by default what leaves the machine room to record the failure."""
    return max(1, int(gib * 2**30)) if gib is not None else int(_MEMORY_SHARE * total_memory_bytes())


class PipelineConfig(Record):
    """Everything one pipeline run is told."""

    name: str = Field(default="digits", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """Name of the pipeline and of its MLflow experiment: lower case, digits, dashes."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """The seed of everything random."""
    data: DataConfig = DataConfig()
    """Where samples come from and how they are split."""
    model: ModelConfig = ModelConfig()
    """Which network to train."""
    train: TrainConfig = TrainConfig()
    """How to train it."""
    variants: tuple[Variant, ...] = Field(min_length=1)
    """What to build from the checkpoint; the one without steps is the reference."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """What to measure on every artifact."""
    efficiency: EfficiencyConfig = EfficiencyConfig()
    """How to time every artifact."""
    gate: GateConfig = GateConfig()
    """The limits an artifact must keep."""
    promotion: PromotionConfig = PromotionConfig()
    """How the winner becomes the version in use."""
    limits: LimitsConfig = LimitsConfig()
    """What one step may take."""

    @model_validator(mode="after")
    def _replicas_keep_their_activations(self) -> Self:
        if self.train.parallel.strategy == "dp" and self.model.gradient_checkpointing:
            raise ValueError(
                "model.gradient_checkpointing: dp copies the network to each GPU, where a copy would recompute with "
                "the original's weights; set train.parallel.strategy to ddp, or gradient_checkpointing to false"
            )
        return self

    @model_validator(mode="after")
    def _reference_is_listed(self) -> Self:
        if not any(not variant.steps for variant in self.variants):
            raise ValueError(
                "variants: the reference is missing, expected one variant without steps; add {name: torch, steps: []}"
            )
        return self

    @model_validator(mode="after")
    def _gate_metrics_are_measured(self) -> Self:
        known = known_metrics(self)
        shipped = GateConfig(preset=self.gate.preset).rules if self.gate.preset else ()
        for rule in self.gate.rules:
            # Slices are named by the data, and a preset's star may stand for nothing that is measured here.
            is_open = may_be_slice(self.evaluation, rule.metric) or ("*" in rule.metric and rule in shipped)
            if is_open or any(fnmatchcase(name, rule.metric) for name in known):
                continue
            section = rule.metric.partition("/")[0]
            if section == "slices":
                named = ", ".join(one.name for one in self.evaluation.slices) or "none"
                raise ValueError(
                    f"gate.rules: no slice gives {rule.metric!r}; expected slices/NAME=VALUE/ before "
                    f"{', '.join(SLICE_METRICS)}, with NAME from evaluation.slices: {named}"
                )
            candidates = [name for name in known if name.startswith(f"{section}/")] or sorted(known)
            raise ValueError(
                f"gate.rules: no metric {rule.metric!r} is measured; expected one of {', '.join(candidates)}"
            )
        return self


def known_metrics(config: PipelineConfig) -> set[str]:
    """Return the flat names of all metrics that a run of this configuration can measure."""
    from pt_core.evaluation.points import measured, metric_name
    from pt_core.evaluation.report import ACCURACY_METRICS, EFFICIENCY_METRICS

    accuracy = {f"accuracy/{name}" for name in ACCURACY_METRICS}
    efficiency = {f"efficiency/{name}" for name in EFFICIENCY_METRICS}
    robustness = {metric_name(attack, strength) for attack, strength in measured(config.evaluation)}
    other = {
        "efficiency/size_bytes",
        "efficiency/peak_memory_bytes",
        "efficiency/cold_start_s",
        "quantization/weight_share",
        "parity/max_relative_error",
    }
    return accuracy | efficiency | robustness | measure_names(config.evaluation) | other
