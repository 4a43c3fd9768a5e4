"""GateConfig: the limits an artifact must keep."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from pt_core.record import Record

_HIGHER_IS_BETTER = ("accuracy/", "robustness/", "efficiency/throughput_samples_per_s")
_LOWER_IS_BETTER = ("accuracy/log_loss", "accuracy/brier", "accuracy/ece")


class GateRule(Record):
    """One limit on one metric; exactly one of the three limits is given."""

    metric: str
    """Flat metric name, e.g. accuracy/accuracy or efficiency/latency_ratio."""
    at_least: float | None = None
    """The metric must not be below this."""
    at_most: float | None = None
    """The metric must not be above this."""
    max_drop: float | None = Field(default=None, ge=0)
    """The metric must not be more than this below the reference's, in absolute terms; for accuracy, robustness
    and throughput, where higher is better."""

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        given = [n for n in ("at_least", "at_most", "max_drop") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of at_least, at_most, max_drop; found {', '.join(given) or 'none'}"
            )
        return self

    @model_validator(mode="after")
    def _a_drop_is_bad(self) -> Self:
        is_good = self.metric.startswith(_HIGHER_IS_BETTER) and self.metric not in _LOWER_IS_BETTER
        if self.max_drop is not None and not is_good:
            raise ValueError(
                f"max_drop on {self.metric}: expected a metric where higher is better ({', '.join(_HIGHER_IS_BETTER)}); "
                "elsewhere a rise, which is worse, would pass; use at_most"
            )
        return self


class GateConfig(Record):
    """The limits an artifact must keep to be deployable."""

    min_samples: int = Field(default=100, ge=1)
    """With fewer test samples than this, accuracy and robustness rules are "insufficient"."""
    rules: tuple[GateRule, ...] = Field(
        default=(
            GateRule(metric="accuracy/accuracy", at_least=0.95),
            GateRule(metric="accuracy/accuracy", max_drop=0.01),
        ),
        min_length=1,
    )
    """All must hold; at least one, since with none nothing would be checked."""
