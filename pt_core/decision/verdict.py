"""Verdict: the judgement of one variant, with the numbers it rests on."""

from __future__ import annotations

from typing import Literal

from pt_core.record import Record

State = Literal["pass", "fail", "insufficient", "not measured"]


class Check(Record):
    """One rule applied to one variant."""

    metric: str
    """Flat metric name."""
    rule: Literal["at_least", "at_most", "max_drop"]
    """Which kind of limit."""
    limit: float
    """The limit."""
    observed: float | None
    """The metric, or for max_drop the drop against the reference; ``None`` if not measured."""
    interval: tuple[float, float] | None
    """95 % interval of the observed value, where one was measured."""
    state: State
    """Whether the limit is kept."""


class Verdict(Record):
    """The judgement of one variant."""

    variant: str
    """Name of the variant."""
    artifact_digest: str | None
    """Digest of the artifact that was judged; ``None`` if there is none."""
    reference: str
    """Name of the variant that drops are measured against."""
    state: State
    """The worst state of its checks: fail, then not measured, then insufficient, then pass."""
    checks: tuple[Check, ...]
    """Every rule."""
    reason: str
    """One sentence with the numbers."""
