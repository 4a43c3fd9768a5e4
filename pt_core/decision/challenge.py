"""Champion against challenger: every number of both side by side, and the drop of accuracy on the same samples."""

from __future__ import annotations

from collections.abc import Mapping

from pt_core.decision.compare import ComparisonRow, comparison_rows
from pt_core.decision.drops import is_same_artifact, no_drop
from pt_core.decision.history import samples_digest
from pt_core.decision.numbers import drop
from pt_core.decision.result import RunResult, VariantResult
from pt_core.decision.statistics import PairedDrop, paired_drop
from pt_core.errors import IntegrityError, NotComparable
from pt_core.evaluation.pairs import ACCURACY, pair_clean
from pt_core.evaluation.report import EvaluationReport
from pt_core.record import Record

_OWN_REFERENCE = (
    "latency and robustness of each are those of its own run: ratios to its own reference, and perturbations "
    "crafted on it"
)


class ChallengeLine(Record):
    """One metric of both."""

    metric: str
    """Its flat name."""
    champion: float | None
    """The champion's."""
    challenger: float | None
    """The challenger's."""
    difference: float | None
    """The challenger's less the champion's."""
    low: float | None = None
    """Lower end of the paired interval of the difference, where the two were asked the same samples."""
    high: float | None = None
    """Upper end."""


class Challenge(Record):
    """Champion against challenger."""

    champion: ComparisonRow
    """What is, or would be, deployed."""
    challenger: ComparisonRow
    """What would take its place."""
    accuracy_drop: PairedDrop | None
    """How far the challenger falls behind on the same clean samples; ``None`` where the notes say why."""
    lines: tuple[ChallengeLine, ...]
    """Every metric that one of them has, in the order of names."""
    notes: tuple[str, ...]
    """What to know before trusting the difference, each in one sentence."""

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        names = f"{self.challenger.variant} against {self.champion.variant}"
        found = self.accuracy_drop
        if found is None:
            return f"{names}: accuracy cannot be compared; {self.notes[0]}"
        ends = f"{drop(0, found.drop):+.4f} ({drop(0, found.high):+.4f} to {drop(0, found.low):+.4f})"
        return f"{names}: {_outcome(found)}; accuracy {ends} on the same {found.num_samples} samples"


def within_run(result: RunResult) -> Challenge:
    """Return the champion that a run was compared with, against its winner.

    Raises:
        NotComparable: the run knows no champion, or chose nothing.
    """
    champion = result.champion
    if champion is None:
        raise NotComparable(
            f"compare: {result.run_name} was compared with no champion; name two runs, whose winners are "
            "compared, or promote a winner and run again"
        )
    winner = _winner(result)
    rows = {row.variant: row for row in comparison_rows(result)}
    notes = [] if champion.problem is None else [f"of the champion: {champion.problem}"]
    found = winner.drop_of(ACCURACY, against=champion.name)
    if found is None and not notes:
        notes = ["the run recorded no paired drop against the champion"]
    drops = {one.metric: one for one in winner.drops if one.against == champion.name}
    return Challenge(
        champion=rows[champion.name],
        challenger=rows[winner.name],
        accuracy_drop=found,
        lines=_lines(champion.metrics, winner.metrics, drops),
        notes=tuple(notes),
    )


def between_runs(champion: RunResult, challenger: RunResult) -> Challenge:
    """Return the winner of one run against the winner of another.

    Raises:
        NotComparable: one of them chose nothing.
    """
    first, second = _winner(champion), _winner(challenger)
    rows = [
        next(row for row in comparison_rows(result) if row.chosen).model_copy(
            update={"variant": f"{result.winner} of {result.run_name}"}
        )
        for result in (champion, challenger)
    ]
    found, notes = _paired(champion, challenger, first.evaluation, second.evaluation)
    machines = [result.checkpoint.environment.cpu_model for result in (champion, challenger)]
    if machines[0] != machines[1]:
        notes.append(
            f"measured on different machines ({machines[0]} and {machines[1]}): speed is not comparable"
        )
    return Challenge(
        champion=rows[0],
        challenger=rows[1],
        accuracy_drop=found,
        lines=_lines(first.metrics, second.metrics, {found.metric: found} if found else {}),
        notes=(*notes, _OWN_REFERENCE),
    )


def _winner(result: RunResult) -> VariantResult:
    found = next((variant for variant in result.variants if variant.name == result.winner), None)
    if found is None:
        raise NotComparable(f"compare: {result.run_name} chose no variant; {result.winner_reason}")
    return found


def _paired(
    champion: RunResult,
    challenger: RunResult,
    first: EvaluationReport | None,
    second: EvaluationReport | None,
) -> tuple[PairedDrop | None, list[str]]:
    """Return the drop on common samples, or why there is none."""
    if samples_digest(champion) != samples_digest(challenger):
        return None, ["the runs rest on different test samples"]
    if first is None or second is None:
        return None, ["one of them was not evaluated"]
    try:
        pairs = pair_clean(first, second)
    except (IntegrityError, NotComparable) as error:
        return None, [f"their answers cannot be read again: {error.message}"]
    found = paired_drop(pairs, metric=ACCURACY, against=f"{champion.winner} of {champion.run_name}")
    return (no_drop(found) if is_same_artifact(second, first) else found), []


def _lines(
    champion: Mapping[str, float], challenger: Mapping[str, float], drops: Mapping[str, PairedDrop]
) -> tuple[ChallengeLine, ...]:
    return tuple(
        _line(name, champion.get(name), challenger.get(name), drops.get(name))
        for name in sorted({*champion, *challenger})
    )


def _line(
    name: str, champion: float | None, challenger: float | None, paired: PairedDrop | None
) -> ChallengeLine:
    is_known = champion is not None and challenger is not None
    return ChallengeLine(
        metric=name,
        champion=champion,
        challenger=challenger,
        difference=drop(challenger or 0.0, champion or 0.0) if is_known else None,
        low=drop(0, paired.high) if paired else None,
        high=drop(0, paired.low) if paired else None,
    )


def _outcome(found: PairedDrop) -> str:
    if found.method == "same artifact":
        return "one and the same artifact"
    if found.low > 0:
        return "less accurate"
    return "more accurate" if found.high < 0 else "too close to tell"
