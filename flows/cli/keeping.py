"""The command that keeps a home in order, as the terminal takes it."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import HomeFolder, Json
from flows.cli.output import guarded
from flows.home import activate


def maintenance(
    keep: Annotated[
        int, typer.Option("--keep", min=1, help="How many runs of each pipeline stay, the newest.")
    ] = 10,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Finish what dead processes left, close their MLflow runs, and remove old runs with their bundles.

    What an alias of a registered model points at stays, with all that it was made from, and so does what a run at work may need. If MLflow cannot say what is in use, nothing is removed.
    """
    from flows.cli.maintenance import maintenance as command

    guarded(
        lambda: command(activate(home), keep_last=keep, dry_run=dry_run, as_json=as_json), as_json=as_json
    )
