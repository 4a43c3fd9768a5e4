"""EvaluationConfig: what to measure on every artifact."""

from __future__ import annotations

from pydantic import Field

from pt_core.record import Record


class EvaluationConfig(Record):
    """What to measure on every artifact."""

    batch_size: int = Field(default=64, ge=1)
    """Samples per inference when scoring."""
    fgsm_epsilons: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    """FGSM step sizes, in units of the input (for tables: of each column's deviation)."""
    noise_sigmas: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    """Standard deviations of Gaussian noise, in the same units."""


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
