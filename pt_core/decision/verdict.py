"""Verdict: the judgement of one variant, with the numbers it rests on."""

from __future__ import annotations

from typing import Literal

from pt_core.record import Record

State = Literal["pass", "fail", "insufficient", "not measured"]
CheckState = Literal["pass", "fail", "insufficient", "not measured", "not applicable"]
RuleName = Literal["at_least", "at_most", "max_drop", "max_ratio"]
Method = Literal["newcombe-tango", "newcombe", "bootstrap", "same artifact", "wilson", "rounds", "noise"]


class Check(Record):
    """One rule applied to one variant."""

    metric: str
    """Flat metric name."""
    rule: RuleName
    """Which kind of limit."""
    limit: float
    """The limit."""
    against: str | None = None
    """Name of what max_drop and max_ratio compare with."""
    observed: float | None
    """The metric, for max_drop its drop and for max_ratio its ratio to the other's; ``None`` if not measured."""
    interval: tuple[float, float] | None
    """Interval of the observed value at 95 % or more, where one was measured."""
    method: Method | None = None
    """Where the interval comes from: paired samples (Newcombe and Tango, bootstrap, or none needed for one
    and the same artifact), one share of samples (Wilson), the rounds of timing, or the noise alone that the
    reference shows against itself, for times and throughputs."""
    decided_by: Literal["interval", "point"] = "point"
    """Whether the interval decided, or the observed value alone."""
    state: CheckState
    """Whether the limit is kept; not applicable is a rule whose champion there is none of, or a preset's
    with a star whose metrics there are none of."""


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
