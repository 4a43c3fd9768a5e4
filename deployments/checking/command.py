"""pt-pipeline check-deployments: one line per problem of a file of deployments."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import typer

from flows.cli.output import print_json, results
from flows.home import add_code_path
from pt_core.errors import ConfigError

SHIPPED = Path(__file__).parents[1] / "prefect.yaml"
"""The deployments that come with the product."""
_HERE = Path("prefect.yaml")


def check_deployments(file: Path | None, *, as_json: bool) -> None:
    """Print every problem, and leave with exit code 2 if there is any.

    Raises:
        ConfigError: there is no such file, or it is no YAML mapping of unique keys.
        Exit: there are problems.
    """
    path = file or (_HERE if _HERE.is_file() else SHIPPED)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected a file of deployments such as prefect.yaml")
    # A flow of the user's own is imported from beside the file.
    add_code_path(path.parent)
    from deployments.checking.file import check_file

    # What a flow's module prints when it is imported is no part of the answer.
    with contextlib.redirect_stdout(sys.stderr):
        found = check_file(path)
    if as_json:
        listed = [one.model_dump(mode="json") for one in found]
        print_json({"file": str(path), "problems": listed, "exit_code": 2 if found else 0})
    else:
        for one in found:
            line = f"{path}:{one.line}: {one.where}: {one.problem}"
            results.print(line, markup=False, highlight=False, soft_wrap=True)
        colour = "red" if found else "green"
        results.print(_summary(path, len(found)), style=colour, markup=False, highlight=False, soft_wrap=True)
    if found:
        raise typer.Exit(ConfigError.exit_code)


def _summary(path: Path, num: int) -> str:
    return f"{path}: {num} problem{'s' if num > 1 else ''}" if num else f"{path}: no problem found"
