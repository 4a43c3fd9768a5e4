"""The commands that use a bundle: verify, rebuild, predict, score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import HomeFolder, Json, Model, Unsigned
from flows.cli.output import guarded
from flows.home import activate
from pt_core.scoring.requests import BadRowPolicy


def verify(
    path: Annotated[
        Path, typer.Argument(help="A release, artifact, checkpoint or any other bundle directory.")
    ],
    unsigned: Unsigned = None,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Prove that a bundle is what its manifest says: signature, digests, safe loading, finite weights, golden outputs.

    A release, and an artifact whose format is a program, must be signed by a key that this home trusts.
    """
    from flows.cli.verify import verify as command

    guarded(
        lambda: command(path, activate(home), unsigned=tuple(unsigned or ()), as_json=as_json),
        as_json=as_json,
    )


def rebuild(
    bundle: Annotated[Path, typer.Argument(help="Directory of a TensorRT artifact.")],
    unsigned: Unsigned = None,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Build an engine again for this machine's GPU and libraries, from the ONNX in its own bundle."""
    from flows.cli.rebuild import rebuild as command

    guarded(
        lambda: command(bundle, activate(home), unsigned=tuple(unsigned or ()), as_json=as_json),
        as_json=as_json,
    )


def predict(
    model: Model,
    inputs: Annotated[list[Path], typer.Argument(help="Files: .npy, .npz, .csv, .png or .jpg.")],
    unsigned: Unsigned = None,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Predict files with one artifact: the label, its probability, and the runners-up."""
    from flows.cli.predict import predict as command

    guarded(
        lambda: command(model, inputs, activate(home), unsigned=tuple(unsigned or ()), as_json=as_json),
        as_json=as_json,
    )


def score(
    model: Model,
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A folder of images, or a .csv, .parquet or .npy file.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT.parquet", help="The file to write.")],
    bad_rows: Annotated[
        BadRowPolicy,
        typer.Option("--bad-rows", help="Refuse rows that cannot be scored, or skip them into a side file."),
    ] = "refuse",
    id_column: Annotated[
        str | None,
        typer.Option("--id-column", help="Column that names the rows: copied to the output, and no input."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output of something else.")
    ] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", help="Seconds after which it is stopped.")
    ] = 86_400,
    memory_gib: Annotated[
        float | None,
        typer.Option("--memory-gib", help="Memory above which it is stopped; nine tenths of what there is."),
    ] = None,
    unsigned: Unsigned = None,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Answer for any number of rows with one artifact, as one Parquet file; runs as the Prefect flow "score".

    The output has a row for each of the input, in its order: [bold]input[/] (the file, or an image's path in the folder), [bold]row[/] (its position in that file, from 0), [bold]id[/] (with --id-column), [bold]label[/], [bold]probability[/] (of that label), [bold]probability_NAME[/] for each class, and [bold]bundle_digest[/] of the artifact that answered. Memory does not grow with the number of rows.

    A call that was interrupted, by kill -9 too, goes on where it was when it is repeated; the output appears when it is whole. Rows that cannot be scored (not a number, out of range, an unreadable image) are refused together, with their list in OUTPUT.bad-rows.csv; --bad-rows skip leaves them out, keeps that file, and scores the rest.
    """
    from flows.cli.score import score as command

    guarded(
        lambda: command(
            model,
            source,
            output,
            activate(home),
            bad_rows=bad_rows,
            id_column=id_column,
            overwrite=overwrite,
            timeout_s=timeout_s,
            memory_gib=memory_gib,
            unsigned=tuple(unsigned or ()),
            as_json=as_json,
        ),
        as_json=as_json,
    )
