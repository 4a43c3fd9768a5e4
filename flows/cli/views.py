"""What compare can show, each as records, as text, on a terminal and as a page: variants, runs over time, the champion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.markup import escape
from rich.panel import Panel

from flows.cli.output import results
from flows.cli.run import read_result, show
from flows.cli.table import challenge_table, history_table, reasons, variants_table
from flows.document import run_document
from flows.home import Home
from pt_core.decision.challenge import Challenge, between_runs, within_run
from pt_core.decision.compare import compare_runs
from pt_core.decision.history import counted, over_time
from pt_core.decision.result import RunResult
from pt_core.decision.tables import TextTable, challenge_text, history_text, variants_text
from pt_core.errors import ConfigError
from pt_core.record import Record


class View(NamedTuple):
    """One comparison in all its forms, each made when it is asked for."""

    document: Callable[[], object]
    """As plain JSON."""
    records: Sequence[Record]
    """As rows of one type."""
    text: Callable[[], TextTable]
    """As cells."""
    page: Callable[[], str]
    """As HTML."""
    show: Callable[[], None]
    """On the terminal."""


def variants_view(folders: Sequence[Path], home: Home) -> View:
    """Return the variants of one run, or of several over the same samples.

    Raises:
        ConfigError: a run cannot be read.
        NotComparable: the runs do not rest on the same samples.
    """
    loaded = [read_result(folder) for folder in folders]
    rows = compare_runs(loaded)
    exit_code = 0 if loaded[0].winner else 3

    def document() -> object:
        if len(loaded) == 1:
            return run_document(loaded[0], folder=folders[0], exit_code=exit_code)
        return [row.model_dump(mode="json") for row in rows]

    def print_all() -> None:
        if len(loaded) == 1:
            show(folders[0], home, exit_code=exit_code, as_json=False)
            return
        for name in dict.fromkeys(row.run for row in rows):
            results.print(variants_table([row for row in rows if row.run == name], title=name))
        for line in reasons(rows):
            results.print(line, highlight=False, markup=False, style="dim")

    def page() -> str:
        from pt_core.reporting.comparison import variants_page

        return variants_page(loaded)

    return View(document, rows, lambda: variants_text(rows), page, print_all)


def history_view(loaded: Sequence[RunResult], *, is_cut: bool) -> View:
    """Return the runs of one pipeline over time; ``is_cut`` says that older ones are left out.

    Raises:
        NotComparable: the runs are of different pipelines.
    """
    rows, pipeline = over_time(loaded), loaded[0].pipeline

    def document() -> object:
        return {
            "pipeline": pipeline,
            "older_left_out": is_cut,
            "runs": [row.model_dump(mode="json") for row in rows],
        }

    def print_all() -> None:
        results.print(history_table(rows, title=f"{pipeline} over time, {counted(len(rows))}"))
        for row in rows:
            if row.note:
                results.print(f"{row.run}: {row.note}", highlight=False, markup=False, style="yellow")
        if is_cut:
            results.print("older runs are left out; --last shows more", style="dim")

    def page() -> str:
        from pt_core.reporting.comparison import history_page

        return history_page(rows, pipeline=pipeline, is_cut=is_cut)

    return View(document, rows, lambda: history_text(rows), page, print_all)


def champion_view(loaded: Sequence[RunResult]) -> View:
    """Return the champion of one run against its winner, or the winner of the first run against the second's.

    Raises:
        ConfigError: there are more than two runs.
        NotComparable: there is no champion, or a run chose nothing.
    """
    if len(loaded) > 2:
        raise ConfigError(
            f"compare --view champion: {len(loaded)} runs named, expected one, whose winner is compared with the "
            "champion that it met, or two, whose winners are compared"
        )
    found = within_run(loaded[0]) if len(loaded) == 1 else between_runs(*loaded)

    def print_all() -> None:
        results.print(challenge_table(found))
        for note in found.notes:
            results.print(note, highlight=False, markup=False, style="yellow")
        results.print(Panel(escape(found.sentence)))

    def page() -> str:
        return _challenge_page(found, loaded)

    return View(
        lambda: {**found.model_dump(mode="json"), "sentence": found.sentence},
        found.lines,
        lambda: challenge_text(found),
        page,
        print_all,
    )


def _challenge_page(found: Challenge, loaded: Sequence[RunResult]) -> str:
    """Return the page, with the samples on which the two differ where both answered the same ones."""
    from pt_core.reporting.comparison import challenge_page
    from pt_core.reporting.disagreements import disagreements_between

    first, last = loaded[0], loaded[-1]
    theirs = first.champion if len(loaded) == 1 else next(v for v in first.variants if v.name == first.winner)
    ours = next(variant for variant in last.variants if variant.name == last.winner)
    if found.accuracy_drop is None or not (theirs and theirs.evaluation and ours.evaluation):
        return challenge_page(found, None)
    pair = ("champion", theirs.evaluation), ("challenger", ours.evaluation)
    return challenge_page(found, disagreements_between(*pair, dataset=last.dataset))
