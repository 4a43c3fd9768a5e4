"""Judge a finished run again by another policy, from what it recorded: nothing is built or measured anew."""

from __future__ import annotations

from pt_core.decision.assemble import judge_variant
from pt_core.decision.config import GateConfig
from pt_core.decision.pareto import place
from pt_core.decision.result import RunResult, VariantResult
from pt_core.decision.select import select
from pt_core.decision.verdict import Check
from pt_core.record import Record


class Change(Record):
    """One variant under two policies."""

    variant: str
    """Its name."""
    before: str
    """What the run said: the state of its verdict, or dominated or over budget."""
    after: str
    """What the policy says."""
    checks: tuple[Check, ...]
    """Every rule of the policy."""
    reason: str
    """Why, in one sentence."""

    @property
    def changed(self) -> bool:
        """Whether the two differ."""
        return self.before != self.after


class Rejudged(Record):
    """What a policy makes of a finished run."""

    run_name: str
    """Name of the run."""
    policy: GateConfig
    """The policy."""
    winner_before: str | None
    """Whom the run chose."""
    winner: str | None
    """Whom the policy chooses."""
    winner_reason: str
    """Why, in one sentence."""
    variants: tuple[Change, ...]
    """In the order of the run."""

    @property
    def sentence(self) -> str:
        """What would change, in one sentence."""
        changed = sum(change.changed for change in self.variants)
        before, after = self.winner_before or "none", self.winner or "none"
        if not changed and before == after:
            return f"nothing would change; {self.winner_reason}"
        winner = (
            f"the winner stays {after}" if before == after else f"the winner changes from {before} to {after}"
        )
        return f"{changed} of {len(self.variants)} variants would change and {winner}; {self.winner_reason}"


def rejudge(result: RunResult, policy: GateConfig) -> Rejudged:
    """Return what a policy makes of the numbers, drops and intervals that a run recorded.

    Rules against the champion hold against the one that the run measured, whatever was promoted since; where it
    measured none they are not applicable.
    """
    champion = result.champion.measured if result.champion else None
    reference = next(variant for variant in result.variants if variant.name == result.reference)
    judged = tuple(
        judge_variant(variant, reference=reference, config=policy, drops=variant.drops, champion=champion)
        for variant in result.variants
    )
    placed = place(judged, policy.selection)
    winner, reason = select(judged, policy.selection)
    return Rejudged(
        run_name=result.run_name,
        policy=policy,
        winner_before=result.winner,
        winner=winner,
        winner_reason=reason,
        variants=tuple(_change(old, new) for old, new in zip(result.variants, placed, strict=True)),
    )


def _change(old: VariantResult, new: VariantResult) -> Change:
    return Change(
        variant=new.name,
        before=old.standing,
        after=new.standing,
        checks=new.verdict.checks,
        reason=new.reason,
    )
