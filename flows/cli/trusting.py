"""The commands about keys, as the terminal takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import HomeFolder, Json
from flows.cli.output import guarded
from flows.home import activate

keys = typer.Typer(help="The key that signs here, and the keys that are trusted.")


@keys.callback(invoke_without_command=True)
def keys_show(context: typer.Context, home: HomeFolder = None, as_json: Json = False) -> None:
    """Show the key that signs what this home publishes, and the keys whose programs and releases it loads.

    A key is made at first use; PT_PIPELINE_SIGNING_KEY names the team's own instead (PEM, elliptic curve; its
    passphrase in PT_PIPELINE_SIGNING_PASSPHRASE), and PT_PIPELINE_TRUSTED_KEYS a folder of public keys (*.pub).
    """
    if context.invoked_subcommand is not None:
        return
    from flows.cli.keys import show as command

    guarded(lambda: command(activate(home), as_json=as_json), as_json=as_json)


@keys.command("trust")
def keys_trust(
    file: Annotated[Path, typer.Argument(help="A public key, PEM.")],
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Trust a public key from now on: releases and programs that it signed load here."""
    from flows.cli.keys import trust as command

    guarded(lambda: command(file, activate(home), as_json=as_json), as_json=as_json)
