"""The pages of ``compare --html``: variants of runs, runs over time, champion against challenger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pt_core.decision.challenge import Challenge
from pt_core.decision.compare import ComparisonRow, compare_runs
from pt_core.decision.history import RunRow, counted
from pt_core.decision.result import RunResult
from pt_core.reporting.chart import Chart
from pt_core.reporting.charts import history_charts, variants_chart
from pt_core.reporting.disagreements import Disagreements
from pt_core.reporting.page import render

_TEMPLATE = "comparison.html.j2"


class Group(NamedTuple):
    """The variants of one run on the page."""

    run: str
    """Name of the run."""
    sentence: str
    """Its outcome."""
    rows: Sequence[ComparisonRow]
    """Its variants."""
    reference: str
    """Name of the reference."""
    robust: str | None
    """Flat name of the metric of robustness in the table."""
    picture: Chart | None
    """Accuracy over latency."""


def variants_page(results: Sequence[RunResult]) -> str:
    """Return the page of one run's variants, or of several runs over the same samples.

    Raises:
        NotComparable: the runs do not rest on the same dataset and split.
    """
    rows = compare_runs(results)
    groups = [
        _group(number, result, [row for row in rows if row.run == result.run_name])
        for number, result in enumerate(results)
    ]
    chosen = ", ".join(f"{result.winner or 'none'} of {result.run_name}" for result in results)
    names = ", ".join(dict.fromkeys(result.pipeline for result in results))
    return _render(
        title=f"Variants of {len(results)} runs" if len(results) > 1 else f"Variants of {groups[0].run}",
        subtitle=f"{names} · {results[0].dataset.split('test').num_samples} test samples",
        sentence=f"chosen: {chosen}" if len(results) > 1 else results[0].sentence,
        refused=not any(result.winner for result in results),
        groups=groups,
    )


def history_page(rows: Sequence[RunRow], *, pipeline: str, is_cut: bool = False) -> str:
    """Return the page of a pipeline's runs over time.

    Args:
        rows: the runs, the oldest first.
        pipeline: whose they are.
        is_cut: whether older ones are left out.
    """
    last, sets = rows[-1], len({row.samples for row in rows})
    told = (
        f"the last chose {last.winner}, accuracy {last.accuracy:.4f}"
        if last.winner and last.accuracy is not None
        else "the last chose nothing"
    )
    kinds = "all on the same test samples" if sets == 1 else f"on {sets} different sets of test samples"
    older = "; older ones are left out" if is_cut else ""
    return _render(
        title=f"{pipeline} over time",
        subtitle=f"{rows[0].started_at[:10]} to {last.started_at[:10]}",
        sentence=f"{counted(len(rows))} {kinds}; {told}{older}",
        refused=last.winner is None,
        charts=history_charts(rows),
        history=rows,
    )


def challenge_page(challenge: Challenge, disagreements: Disagreements | None) -> str:
    """Return the page of champion against challenger, with the samples on which they differ where those are known."""
    return _render(
        title=f"{challenge.challenger.variant} against {challenge.champion.variant}",
        subtitle=f"champion from {challenge.champion.run} · challenger from {challenge.challenger.run}",
        sentence=challenge.sentence,
        refused=challenge.accuracy_drop is None or challenge.accuracy_drop.low > 0,
        challenge=challenge,
        disagreements=(disagreements,) if disagreements else (),
    )


def _group(number: int, result: RunResult, rows: Sequence[ComparisonRow]) -> Group:
    robust = next((row.robust_metric for row in rows if row.robust_metric), None)
    picture = variants_chart(result, rows, key=f"run-{number}")
    return Group(result.run_name, result.sentence, rows, result.reference, robust, picture)


def _render(*, title: str, subtitle: str, sentence: str, refused: bool, **parts: object) -> str:
    nothing = {"groups": (), "charts": (), "history": (), "challenge": None, "disagreements": ()}
    return render(
        _TEMPLATE, title=title, subtitle=subtitle, sentence=sentence, refused=refused, **{**nothing, **parts}
    )
