"""pt-pipeline compare: the variants of runs, the runs of a pipeline over time, the champion against its challenger."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from flows.cli.output import messages, print_json
from flows.cli.run import read_result
from flows.cli.views import View, champion_view, history_view, variants_view
from flows.home import FETCHED, Home, may_be_stored
from flows.retention import stored_runs
from pt_core.decision.result import RunResult
from pt_core.decision.tables import to_csv, to_markdown
from pt_core.errors import ConfigError
from pt_core.files import write_text_atomically

ViewName = Literal["variants", "time", "champion"]
Form = Literal["table", "json", "csv", "markdown"]


def compare(
    names: Sequence[str],
    home: Home,
    *,
    view: ViewName,
    form: Form,
    html: Path | None,
    pipeline: str | None,
    last: int,
) -> None:
    """Print a comparison, and write its page where one is asked for.

    Args:
        names: runs; what no name means depends on the view.
        home: where runs are.
        view: what to compare.
        form: how to print it.
        html: file of the page; ``None`` for none.
        pipeline: whose runs over time; ``None`` is that of the latest run.
        last: how many of them.

    Raises:
        ConfigError: there is no such run or pipeline, or the options do not go together.
        NotComparable: the runs do not rest on the same samples, or there is no champion.
    """
    if pipeline is not None and (view != "time" or names):
        raise ConfigError("compare --pipeline: it chooses the runs of --view time, where no run is named")
    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise ConfigError(f"compare --html {html}: expected a file in a folder that exists")
    if view == "time":
        runs, is_cut = _history(names, home, pipeline=pipeline, last=last)
        found = history_view(runs, is_cut=is_cut)
    elif view == "champion":
        found = champion_view([read_result(folder) for folder in find_runs(names, home)])
    else:
        found = variants_view(find_runs(names, home), home)
    _print(found, form)
    if html is not None:
        write_text_atomically(html, found.page())
        # Not on standard output, which may be a document.
        messages.print(f"[bold]page[/]  {html.resolve()}", soft_wrap=True, highlight=False)


def choose_form(*, as_json: bool, as_csv: bool, as_markdown: bool) -> Form:
    """Return the one form that was asked for.

    Raises:
        ConfigError: two were.
    """
    asked: dict[Form, bool] = {"json": as_json, "csv": as_csv, "markdown": as_markdown}
    chosen = [form for form, is_asked in asked.items() if is_asked]
    if len(chosen) > 1:
        raise ConfigError(f"compare: {' and '.join(f'--{form}' for form in chosen)}: expected one of them")
    return chosen[0] if chosen else "table"


def find_runs(names: Sequence[str], home: Home) -> list[Path]:
    """Return the folders of runs by name, or that of the latest that this home made where no name is given.

    A run that is not here, or is named by its id in MLflow, is fetched from there first.

    Raises:
        ConfigError: there is no such run, or one is named twice.
        IntegrityError: MLflow holds other bytes than the run left.
    """
    if not names:
        return [_latest(home)]
    by_name = {path.parent.name: path.parent for path in home.runs.glob("*/run.json")}
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigError(f"run {twice!r} is named twice; name each run once")
    return [by_name.get(name) or _fetched(name, home) for name in names]


def _fetched(name: str, home: Home) -> Path:
    """Return the folder of a run that another home made and MLflow keeps."""
    latest = [folder.name for folder in _known(home)[-5:]]
    here = f"known in {home.runs} are {', '.join(latest) or 'none'}"
    if not may_be_stored(home):
        raise ConfigError(f"no run named {name!r}; {here}")
    # Here, since MLflow takes seconds to import.
    from flows.fetch import fetch_run

    try:
        return home.runs / fetch_run(home, name).run_name
    except ConfigError as error:
        raise error.with_message(f"{error.message}; {here}") from error


def _known(home: Home) -> list[Path]:
    """Return the folders of all finished runs, by when they began, the latest last; those of torn results come first.

    Not by the time of a file, which is a later one where a run was fetched, or was promoted days after.
    """
    found = sorted(stored_runs(home.runs), key=lambda run: (run.started_at, run.name))
    return [run.directory for run in found]


def _latest(home: Home) -> Path:
    """Return the folder of the latest run that this home made: to look at another home's run chooses nothing here."""
    own = [folder for folder in _known(home) if not (folder / FETCHED).exists()]
    if not own:
        raise _none(home)
    return own[-1]


def _none(home: Home) -> ConfigError:
    return ConfigError(f"no run made in {home.runs} yet; start one with: pt-pipeline run, or name one")


def _history(
    names: Sequence[str], home: Home, *, pipeline: str | None, last: int
) -> tuple[list[RunResult], bool]:
    """Return the runs to show over time, and whether older ones are left out."""
    if names:
        return [read_result(folder) for folder in find_runs(names, home)], False
    found: list[RunResult] = []
    seen: set[str] = set()
    known = _known(home)
    if not known:
        raise _none(home)
    for folder in reversed(known):
        try:
            result = read_result(folder)
        except ConfigError as error:
            messages.print(f"left out: {error.message}", style="yellow", markup=False, highlight=False)
            continue
        seen.add(result.pipeline)
        pipeline = pipeline or result.pipeline
        if result.pipeline == pipeline:
            found.append(result)
        if len(found) > last:
            return found[:last], True
    if not found:
        read = ", ".join(sorted(seen)) or "none that this version reads"
        raise ConfigError(f"no run of pipeline {pipeline!r} in {home.runs}; known are {read}")
    return found, False


def _print(found: View, form: Form) -> None:
    if form == "json":
        print_json(found.document())
    elif form == "csv":
        sys.stdout.write(to_csv(found.records))
    elif form == "markdown":
        sys.stdout.write(to_markdown(found.text()))
    else:
        found.show()
