"""Judge one artifact's numbers by the gate's rules; what is missing or not a number is never a pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pt_core.decision.check import Judged, apply_rule, unmeasured
from pt_core.decision.config import GateConfig
from pt_core.decision.evidence import Baseline, Evidence, Range
from pt_core.decision.verdict import State, Verdict

WORST_FIRST: tuple[State, ...] = ("fail", "not measured", "insufficient", "pass")
"""A verdict has the first of these that any of its checks has."""

_MAX_CLAUSES = 3


def judge(
    *,
    variant: str,
    artifact_digest: str | None,
    metrics: Mapping[str, float],
    reference: Baseline,
    champion: Baseline | None = None,
    intervals: Mapping[str, Range],
    num_samples: int | None,
    counts: Mapping[str, int] | None = None,
    undefined: Mapping[str, str] | None = None,
    config: GateConfig,
) -> Verdict:
    """Return the verdict on one variant.

    The state of a check is the first of these that holds:

    - "not applicable": it compares with the champion and there is none, or it is a preset's, its name has a star
      and no such metric was measured; it takes no part in the verdict, which names it;
    - "insufficient": the metric is undefined because its slice has too few samples;
    - "not measured": the metric (for ``max_drop`` and ``max_ratio`` the other's too) is undefined, missing or not
      finite, any other star stands for nothing, or it comes with an interval that is not finite or does not hold it;
    - "insufficient": a metric of samples rests on fewer than ``min_samples``, or on nobody knows how many;
    - "insufficient": the interval decides, and the limit lies inside it, so that the measurement cannot tell;
      or a metric that always comes with an interval has none;
    - "fail": the limit is broken; a value equal to the limit keeps it;
    - "pass".

    Where the interval decides, a rule passes only if the whole of it keeps the limit. A drop of accuracy or
    robustness has the paired interval of its samples, a share of samples Wilson's, a ratio of times that of its
    rounds. What has none (sizes, losses, areas under curves, and F1 and its like against an absolute limit) is
    decided by its value. A drop is the other's metric minus the variant's. Both it and its limit are rounded to
    12 decimals, so that 0.96 - 0.95, which is 0.010000000000000009 in floating point, keeps a limit of 0.01.

    Args:
        variant: name of the variant.
        artifact_digest: digest of what was built; ``None`` if nothing was.
        metrics: the variant's numbers by flat name.
        reference: the reference, with the variant's drops against it.
        champion: the champion likewise; ``None`` if there is none.
        intervals: 95 % intervals of the variant's metrics, where measured.
        num_samples: samples behind accuracy and robustness.
        counts: samples behind single metrics that rest on other numbers of them.
        undefined: why metrics that were asked for have no value, by flat name; a star stands for them too.
        config: the rules.
    """
    if artifact_digest is None:
        return not_measured(variant, reference.name, "there is no artifact", config)
    evidence = Evidence(
        metrics=metrics,
        intervals=intervals,
        reference=reference,
        champion=champion,
        counts=counts or {},
        num_samples=num_samples,
        min_samples=config.min_samples,
        confidence=config.confidence,
        optional=[rule for rule in config.rules if config.is_of_preset(rule)],
        undefined=undefined or {},
    )
    judged = [item for rule in config.rules for item in apply_rule(rule, evidence)]
    state = _worst(judged)
    return Verdict(
        variant=variant,
        artifact_digest=artifact_digest,
        reference=reference.name,
        state=state,
        checks=tuple(item.check for item in judged),
        reason=f"{state}: {_explain(judged)}",
    )


def _worst(judged: Sequence[Judged]) -> State:
    """Return the worst state; where no rule applies nothing was checked, which is no pass."""
    found = {item.check.state for item in judged}
    return next((state for state in WORST_FIRST if state in found), "not measured")


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
    """Return the clauses of what did not pass, worst first, or of everything if all did; then what did not apply."""
    applied = [item for item in judged if item.check.state != "not applicable"]
    broken = [item for item in applied if item.check.state != "pass"]
    told = sorted(broken or applied, key=lambda item: WORST_FIRST.index(_state(item)))
    clauses = [item.clause for item in told[:_MAX_CLAUSES]]
    if len(told) > len(clauses):
        clauses.append(f"and {len(told) - len(clauses)} more")
    counted = "" if broken else f"{len(applied)} of {len(applied)} rules hold; "
    left_out = [item.clause for item in judged if item.check.state == "not applicable"]
    skipped = f"{len(left_out)} not applicable: {', '.join(dict.fromkeys(left_out))}" if left_out else ""
    return "; ".join(filter(None, [(counted if applied else "") + ", ".join(clauses), skipped]))


def _state(item: Judged) -> State:
    assert item.check.state != "not applicable"
    return item.check.state
