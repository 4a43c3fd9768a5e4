"""The commands that change which version of a model is in use, as the terminal takes them."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import HomeFolder, Json, ModelName
from flows.cli.output import guarded
from flows.home import activate


def promote(
    run: Annotated[
        str | None, typer.Argument(help="Name of a run; the latest if left out.", show_default=False)
    ] = None,
    variant: Annotated[
        str | None,
        typer.Argument(help="Name of a variant; the run's winner if left out.", show_default=False),
    ] = None,
    model: ModelName = None,
    force: Annotated[
        bool, typer.Option("--force", help="Promote what is not promotable; needs --reason.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; stamped on the version for good.")
    ] = None,
    approval: Annotated[
        str | None,
        typer.Option(
            "--approval", metavar="none|prefect", help="Whether a person must agree in Prefect's pages."
        ),
    ] = None,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Make a run's winner the champion: release, register, replay from a fresh download, then move the alias.

    Exit codes: 0 it is champion, 1 a step failed, 2 bad input, 3 refused as not promotable or by a person, 4 another version became champion meanwhile. What a failure leaves is taken back, or completed, by the next command.
    """
    from flows.cli.promote import promote as command

    guarded(
        lambda: command(
            run,
            variant,
            activate(home),
            model=model,
            force=force,
            reason=reason,
            approval=approval,
            as_json=as_json,
        ),
        as_json=as_json,
    )


def rollback(
    model: Annotated[
        str | None,
        typer.Argument(help="Name of a registered model; the latest run's if left out.", show_default=False),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="VERSION", help="The version to go to; the one before if left out."),
    ] = None,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Point the alias champion at the version before it, if its files and their signature still verify.

    Exit codes: 0 done, 1 that version does not verify, 2 there is none to go back to, 4 another version became champion meanwhile.
    """
    from flows.cli.promote import rollback as command

    guarded(lambda: command(activate(home), model=model, to=to, as_json=as_json), as_json=as_json)


def versions(
    model: Annotated[
        str | None,
        typer.Argument(help="Name of a registered model; the latest run's if left out.", show_default=False),
    ] = None,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """List the registered versions of a model: aliases, verdicts, digests, and promotions that did not end."""
    from flows.cli.promote import versions as command

    guarded(lambda: command(activate(home), model=model, as_json=as_json), as_json=as_json)
