"""EvaluationConfig: what to measure on every artifact."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Self

from pydantic import Field, model_validator

from pt_core.record import Record

Strength = Annotated[float, Field(gt=0)]


class EvaluationConfig(Record):
    """What to measure on every artifact."""

    batch_size: int = Field(default=64, ge=1)
    """Samples per inference when scoring."""
    fgsm_epsilons: tuple[Strength, ...] = (0.02, 0.05, 0.1, 0.2)
    """FGSM step sizes, as a share of the width of the input range (for tables: of each column's deviation)."""
    noise_sigmas: tuple[Strength, ...] = (0.05, 0.1, 0.2, 0.4)
    """Standard deviations of Gaussian noise, in the same units."""

    @model_validator(mode="after")
    def _strengths_differ(self) -> Self:
        for name in ("fgsm_epsilons", "noise_sigmas"):
            # Metrics and files are named by the first six digits of a strength.
            counts = Counter(f"{strength:g}" for strength in getattr(self, name))
            repeated = [text for text, count in counts.items() if count > 1]
            if repeated:
                raise ValueError(f"{name}: {repeated[0]} is given twice (to six digits); leave one out")
        return self


class EfficiencyConfig(Record):
    """How to time every artifact against the reference."""

    latency_batch_size: int = Field(default=1, ge=1)
    """Samples per call when measuring latency."""
    throughput_batch_size: int = Field(default=64, ge=1)
    """Samples per call when measuring throughput."""
    rounds: int = Field(default=30, ge=5)
    """Interleaved rounds; each times the reference and every variant once, in a shuffled order."""
    calls_per_round: int = Field(default=10, ge=1)
    """Calls of one variant in one round."""
    num_threads: int | None = Field(default=1, ge=1)
    """Cores of one inference; null takes all, which a busy machine makes slow and erratic."""
    max_seconds: float = Field(default=20, gt=0)
    """Rounds stop early, though never before five, once this is spent (half on latency, half on throughput)."""
