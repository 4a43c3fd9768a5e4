"""The commands up, status and down: the local stack from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import HomeFolder, Json
from flows.cli.output import guarded
from flows.home import choose_home

if TYPE_CHECKING:
    from deployments.stack.options import StackOptions

_URL = "sqlite in the home folder if left out; with a password better set by the environment variable."


def up(
    home: HomeFolder = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; loopback unless you say otherwise.")
    ] = "127.0.0.1",
    prefect_port: Annotated[
        int, typer.Option("--prefect-port", min=1, max=65535, help="Port of Prefect's API and pages.")
    ] = 4200,
    mlflow_port: Annotated[
        int, typer.Option("--mlflow-port", min=1, max=65535, help="Port of MLflow's API and pages.")
    ] = 5000,
    webhook_port: Annotated[
        int, typer.Option("--webhook-port", min=1, max=65535, help="Port of the webhook receiver.")
    ] = 8090,
    auth: Annotated[
        bool, typer.Option("--auth", help="Ask for a password, made once and kept in the home's secrets.")
    ] = False,
    prefect_database: Annotated[
        str | None,
        typer.Option(
            "--prefect-database",
            metavar="URL",
            envvar="PT_PIPELINE_PREFECT_DATABASE",
            help=f"postgresql://user:password@host/database; {_URL}",
        ),
    ] = None,
    mlflow_database: Annotated[
        str | None,
        typer.Option(
            "--mlflow-database",
            metavar="URL",
            envvar="PT_PIPELINE_MLFLOW_DATABASE",
            help=f"postgresql://user:password@host/database; {_URL}",
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Come back once all is ready; end it with pt-pipeline down.")
    ] = False,
    webhook: Annotated[
        bool, typer.Option("--webhook/--no-webhook", help="Whether the webhook receiver is started.")
    ] = True,
    prefect_file: Annotated[
        Path | None,
        typer.Option(
            "--prefect-file",
            metavar="FILE",
            help="Deployments to apply; the product's own prefect.yaml if left out.",
        ),
    ] = None,
) -> None:
    """Start the local stack: Prefect, MLflow, a worker with every deployment, and the webhook receiver."""
    from deployments.stack.options import StackOptions

    def command() -> None:
        options = StackOptions(
            home=choose_home(home).root,
            host=host,
            prefect_port=prefect_port,
            mlflow_port=mlflow_port,
            webhook_port=webhook_port,
            auth=auth,
            prefect_database=prefect_database,
            mlflow_database=mlflow_database,
            webhook=webhook,
            prefect_file=str(prefect_file.resolve()) if prefect_file else None,
        )
        _up(options, detach=detach)

    guarded(command, as_json=False)


def _up(options: StackOptions, *, detach: bool) -> None:
    if detach:
        from deployments.stack.detached import up_detached

        up_detached(options)
        return
    from deployments.stack.screen import Screen
    from deployments.stack.up import up as command

    command(options, screen=Screen())


def status(home: HomeFolder = None, as_json: Json = False) -> None:
    """Say what of the stack in this home runs, where its pages are, and what it takes; exit code 1 if any of it does not."""
    from deployments.stack.status import status as command

    guarded(lambda: command(choose_home(home), as_json=as_json), as_json=as_json)


def down(home: HomeFolder = None) -> None:
    """Stop the stack of this home, and whatever a killed one left behind."""
    from deployments.stack.down import down as command

    guarded(lambda: command(choose_home(home)), as_json=False)
