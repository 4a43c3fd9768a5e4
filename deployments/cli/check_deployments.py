"""The command check-deployments, as the terminal takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Json
from flows.cli.output import guarded


def check_deployments(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="prefect.yaml here if left out, or where there is none the shipped one.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find in a file of deployments what Prefect ignores or refuses too late; no server is needed.

    Unknown keys, parameters that a flow does not take, bad schedules, triggers that fire on everything, entrypoints that do not import: one line for each. Exit code 2 if there is any.
    """
    from deployments.checking.command import check_deployments as command

    guarded(lambda: command(file, as_json=as_json), as_json=as_json)
