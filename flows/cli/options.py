"""The arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped configuration.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Override a setting, e.g. --set train.epochs=3."),
]
HomeFolder = Annotated[
    Path | None,
    typer.Option("--home", envvar="PT_PIPELINE_HOME", help="Folder for everything written (.pt-pipeline)."),
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="models:/NAME@champion, models:/NAME/3, or the folder of a release or of an artifact of any format.",
    ),
]
Unsigned = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-unsigned",
        metavar="NAME|DIGEST",
        help="Load this bundle though no trusted key signed it; for code that you know.",
        show_default=False,
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Name of the registered model; the pipeline's if left out."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
