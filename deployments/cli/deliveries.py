"""The commands about the deliveries that the webhook receiver accepted, as the terminal takes them."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flows.cli.options import HomeFolder, Json
from flows.cli.output import guarded
from flows.home import activate

deliveries = typer.Typer(help="The pushes that the webhook receiver accepted: list, show, replay.")

Identity = Annotated[str, typer.Argument(metavar="ID", help="A delivery's id, or its first characters.")]

OfRepository = Annotated[
    str | None,
    typer.Option("--repository", metavar="NAME", help="Where deliveries of several have the same id."),
]


@deliveries.callback(invoke_without_command=True)
def deliveries_default(context: typer.Context, home: HomeFolder = None, as_json: Json = False) -> None:
    """List the latest pushes that the webhook receiver accepted, and what became of each."""
    if context.invoked_subcommand is None:
        deliveries_list(home=home, as_json=as_json)


@deliveries.command("list")
def deliveries_list(
    last: Annotated[int, typer.Option("--last", min=1, help="How many, the latest.")] = 20,
    state: Annotated[
        Literal["accepted", "started", "superseded", "cancelled", "dead"] | None,
        typer.Option("--state", help="Only those in this state.", show_default=False),
    ] = None,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """List the latest deliveries, oldest first."""
    from deployments.webhook.show import list_deliveries as command

    guarded(lambda: command(activate(home), last=last, state=state, as_json=as_json), as_json=as_json)


@deliveries.command("show")
def deliveries_show(
    identity: Identity, repository: OfRepository = None, home: HomeFolder = None, as_json: Json = False
) -> None:
    """Show all that is known of one delivery."""
    from deployments.webhook.show import show_delivery as command

    guarded(
        lambda: command(identity, activate(home), repository=repository, as_json=as_json), as_json=as_json
    )


@deliveries.command("replay")
def deliveries_replay(
    identity: Identity, repository: OfRepository = None, home: HomeFolder = None, as_json: Json = False
) -> None:
    """Start a run at the commit of a delivery once more, also of one that was given up.

    The receiver picks it up within a second; without one running, when it runs next. Queued runs of newer commits stay.
    """
    from deployments.webhook.show import replay_delivery as command

    guarded(
        lambda: command(identity, activate(home), repository=repository, as_json=as_json), as_json=as_json
    )
