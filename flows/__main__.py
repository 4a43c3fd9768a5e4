"""The command line ``pt-pipeline``: typed, and quick to start because each command imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.deploying import promote, rollback, versions
from flows.cli.options import Config, HomeFolder, Json, Model, Set, Unsigned
from flows.cli.output import guarded
from flows.cli.trusting import keys
from flows.home import activate
from flows.load import DEFAULT_CONFIG
from pt_core.scoring.requests import BadRowPolicy

app = typer.Typer(
    name="pt-pipeline",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=(
        "Train a PyTorch classifier, convert and quantize it, measure every artifact, and let a gate decide "
        "which one may ship.\n\n"
        "Start with [bold]pt-pipeline run[/] (the digits example, about a minute), then "
        "[bold]pt-pipeline init my-project[/] for your own model and data.\n\n"
        "Exit codes: 0 a variant passed, 1 a stage failed, 2 bad input, 3 the gate refused all, 4 another promoter came first."
    ),
)


@app.command()
def run(
    config: Config = DEFAULT_CONFIG,
    overrides: Set = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--from", metavar="CHECKPOINT", help="Go on from this checkpoint, without training."),
    ] = None,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Train, convert, quantize, evaluate, judge and report; what has not changed is taken from the cache."""
    from flows.cli.run import run as command

    guarded(
        lambda: command(
            config, tuple(overrides or ()), activate(home), checkpoint=checkpoint, as_json=as_json
        ),
        as_json=as_json,
    )


@app.command()
def train(
    config: Config = DEFAULT_CONFIG, overrides: Set = None, home: HomeFolder = None, as_json: Json = False
) -> None:
    """Train alone, and end with a verified checkpoint for run --from."""
    from flows.cli.train import train as command

    guarded(lambda: command(config, tuple(overrides or ()), activate(home), as_json=as_json), as_json=as_json)


@app.command()
def plan(
    config: Config = DEFAULT_CONFIG, overrides: Set = None, home: HomeFolder = None, as_json: Json = False
) -> None:
    """Show the tree of steps: what is cached, what would run, and what this machine cannot build and why."""
    from flows.cli.plan import plan as command

    guarded(lambda: command(config, tuple(overrides or ()), activate(home), as_json=as_json), as_json=as_json)


@app.command()
def doctor(home: HomeFolder = None, as_json: Json = False) -> None:
    """Look at this machine: devices, instruction sets, formats and quantizers, versions, servers."""
    from flows.cli.doctor import doctor as command

    guarded(lambda: command(activate(home), as_json=as_json), as_json=as_json)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def compare(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Names of runs; the latest if left out.", show_default=False)
    ] = None,
    view: Annotated[
        Literal["variants", "time", "champion"],
        typer.Option(
            "--view",
            help="The variants of the runs; the runs of one pipeline over time; the champion that a run met "
            "against its winner, or the winner of one run against that of another.",
        ),
    ] = "variants",
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="Whose runs over time; the latest run's if left out.")
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="How many of its runs, the latest.")] = 20,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a self-contained page as well.")
    ] = None,
    home: HomeFolder = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every field as CSV.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Compare the variants of runs, the runs of a pipeline over time, or the champion with its challenger."""
    from flows.cli.compare import choose_form
    from flows.cli.compare import compare as command

    guarded(
        lambda: command(
            runs or [],
            activate(home),
            view=view,
            form=choose_form(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown),
            html=html,
            pipeline=pipeline,
            last=last,
        ),
        as_json=as_json,
    )


@app.command()
def gate(
    run: Annotated[str, typer.Argument(help="Name of a finished run.")],
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            metavar="FILE|PRESET",
            help="A YAML file of rules, or strict, balanced or smoke; the run's own if left out.",
        ),
    ] = None,
    overrides: Set = None,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Judge a finished run by another policy, without running anything, and say what would change.

    Here --set changes the policy, e.g. --set selection.strategy=size.
    """
    from flows.cli.gate import gate as command

    guarded(
        lambda: command(
            run, activate(home), policy=policy, overrides=tuple(overrides or ()), as_json=as_json
        ),
        as_json=as_json,
    )


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="What is right: a variant's name, or an artifact's folder.")],
    b: Annotated[str, typer.Argument(help="What is compared with it.")],
    run: Annotated[str | None, typer.Option("--run", help="Name of the run; the latest if left out.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples to compare on.")] = 16,
    unsigned: Unsigned = None,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Find where two artifacts of one run part: the first layer over tolerance, and the layers by damage.

    A network of your own is imported from the current folder. Exit codes, as of diff: 0 no layer is over tolerance, 1 one is, 2 bad input or a form that cannot run here.
    """
    from flows.cli.diff import diff as command

    guarded(
        lambda: command(
            a,
            b,
            activate(home),
            run=run,
            num_samples=batch,
            unsigned=tuple(unsigned or ()),
            as_json=as_json,
        ),
        as_json=as_json,
    )


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="New folder for the project.")],
    template: Annotated[
        Literal["arrays", "table", "images"], typer.Option(help="What the samples are in.")
    ] = "arrays",
    as_json: Json = False,
) -> None:
    """Make a starter project with its own data, ready to run."""
    from flows.cli.init import init as command

    guarded(lambda: command(folder, template=template, as_json=as_json), as_json=as_json)


app.add_typer(keys, name="keys")
for _command in (promote, rollback, versions):
    app.command()(_command)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
