"""pt-pipeline compare: the variants of one run, or of several runs over the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.cli.output import print_json, results
from flows.cli.run import read_result, show
from flows.cli.table import reasons, variants_table
from flows.home import Home
from pt_core.decision.compare import compare_runs
from pt_core.errors import ConfigError


def compare(names: Sequence[str], home: Home, *, as_json: bool) -> None:
    """Print one run as it ended, or several side by side.

    Raises:
        ConfigError: there is no such run.
        NotComparable: the runs do not rest on the same samples.
    """
    folders = find_runs(names, home)
    loaded = [read_result(folder) for folder in folders]
    if len(folders) == 1:
        show(folders[0], home, exit_code=0 if loaded[0].winner else 3, as_json=as_json)
        return
    rows = compare_runs(loaded)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    for name in dict.fromkeys(row.run for row in rows):
        results.print(variants_table([row for row in rows if row.run == name], title=name))
    for line in reasons(rows):
        results.print(line, highlight=False, markup=False, style="dim")


def find_runs(names: Sequence[str], home: Home) -> list[Path]:
    """Return the folders of runs by name, or that of the latest where no name is given.

    Raises:
        ConfigError: there is no such run.
    """
    known = sorted(
        (path.parent for path in home.runs.glob("*/run.json")), key=lambda p: (p / "run.json").stat().st_mtime
    )
    if not known:
        raise ConfigError(f"no run in {home.runs} yet; start one with: pt-pipeline run")
    by_name = {folder.name: folder for folder in known}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ConfigError(f"no run named {unknown[0]!r}; known are {', '.join(list(by_name)[-5:])}")
    return [by_name[name] for name in names] or known[-1:]
