"""Judge one artifact's numbers by the gate's rules; what is missing or not a number is never a pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pt_core.decision.check import Evidence, Judged, Range, apply_rule, unmeasured
from pt_core.decision.config import GateConfig
from pt_core.decision.verdict import State, Verdict

WORST_FIRST: tuple[State, ...] = ("fail", "not measured", "insufficient", "pass")
"""A verdict has the first of these that any of its checks has."""

_MAX_CLAUSES = 3


def judge(
    *,
    variant: str,
    artifact_digest: str | None,
    metrics: Mapping[str, float],
    reference: str,
    reference_metrics: Mapping[str, float],
    intervals: Mapping[str, Range],
    num_samples: int | None,
    config: GateConfig,
) -> Verdict:
    """Return the verdict on one variant.

    The state of a check is the first of these that holds:

    - "not measured": the metric (for ``max_drop`` the reference's too) is missing or not finite, or it
      comes with an interval that is not finite or does not hold it;
    - "insufficient": an accuracy or robustness metric rests on fewer than ``min_samples`` samples, or on
      nobody knows how many;
    - "insufficient": the limit lies strictly inside the interval, so the measurement cannot tell;
    - "fail": the limit is broken; a value equal to the limit keeps it;
    - "pass".

    A drop is the reference's metric minus the variant's. Both it and its limit are rounded to 12 decimals,
    so that 0.96 - 0.95, which is 0.010000000000000009 in floating point, keeps a limit of 0.01. The
    interval of a drop is the metric's own, with the reference's value taken as exact.

    Args:
        variant: name of the variant.
        artifact_digest: digest of what was built; ``None`` if nothing was.
        metrics: the variant's numbers by flat name.
        reference: name of the reference.
        reference_metrics: the reference's numbers.
        intervals: 95 % intervals of the variant's metrics, where measured.
        num_samples: samples behind accuracy and robustness.
        config: the rules.
    """
    if artifact_digest is None:
        return not_measured(variant, reference, "there is no artifact", config)
    evidence = Evidence(metrics, reference_metrics, intervals, num_samples, config.min_samples)
    judged = [apply_rule(rule, evidence) for rule in config.rules]
    state = min((item.check.state for item in judged), key=WORST_FIRST.index)
    return Verdict(
        variant=variant,
        artifact_digest=artifact_digest,
        reference=reference,
        state=state,
        checks=tuple(item.check for item in judged),
        reason=f"{state}: {_explain(judged)}",
    )


def not_measured(
    variant: str, reference: str, problem: str, config: GateConfig, *, artifact_digest: str | None = None
) -> Verdict:
    """Return the verdict on a variant that was not built or not run; its problem is the reason, on one line."""
    return Verdict(
        variant=variant,
        artifact_digest=artifact_digest,
        reference=reference,
        state="not measured",
        checks=tuple(unmeasured(rule) for rule in config.rules),
        reason=f"not measured: {' '.join(problem.split())}",
    )


def _explain(judged: Sequence[Judged]) -> str:
    """Return the clauses of what did not pass, worst first, or of everything if all did."""
    broken = [item for item in judged if item.check.state != "pass"]
    told = sorted(broken or judged, key=lambda item: WORST_FIRST.index(item.check.state))
    clauses = [item.clause for item in told[:_MAX_CLAUSES]]
    if len(told) > len(clauses):
        clauses.append(f"and {len(told) - len(clauses)} more")
    counted = "" if broken else f"{len(judged)} of {len(judged)} rules hold; "
    return counted + ", ".join(clauses)
