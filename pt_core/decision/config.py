"""GateConfig: the limits an artifact must keep."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from pt_core.record import Record


class GateRule(Record):
    """One limit on one metric; exactly one of the three limits is given."""

    metric: str
    """Flat metric name, e.g. accuracy/accuracy or efficiency/latency_ratio."""
    at_least: float | None = None
    """The metric must not be below this."""
    at_most: float | None = None
    """The metric must not be above this."""
    max_drop: float | None = Field(default=None, ge=0)
    """The metric must not be more than this below the reference's, in absolute terms."""

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        given = [n for n in ("at_least", "at_most", "max_drop") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of at_least, at_most, max_drop; found {', '.join(given) or 'none'}"
            )
        return self


class GateConfig(Record):
    """The limits an artifact must keep to be deployable."""

    min_samples: int = Field(default=100, ge=1)
    """With fewer test samples than this, accuracy and robustness rules are "insufficient"."""
    rules: tuple[GateRule, ...] = (
        GateRule(metric="accuracy/accuracy", at_least=0.95),
        GateRule(metric="accuracy/accuracy", max_drop=0.01),
    )
    """All must hold."""
