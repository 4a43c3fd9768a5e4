"""The command that runs the webhook receiver, as the terminal takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import HomeFolder
from flows.cli.output import guarded
from flows.home import activate


def webhook(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="Its repositories; webhook.yaml in the home folder if left out."
        ),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            "--secret-file",
            metavar="FILE",
            help="File with the secret; PT_PIPELINE_WEBHOOK_SECRET if left out.",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen at.")] = 8090,
    home: HomeFolder = None,
) -> None:
    """Receive the pushes of Git hosts and start a run at each pushed commit, until Ctrl-C.

    It speaks HTTP: put a reverse proxy with TLS before it where the Git host is not on this machine.
    """
    from deployments.webhook.serve import serve as command

    guarded(
        lambda: command(activate(home), config=config, secret_file=secret_file, host=host, port=port),
        as_json=False,
    )
