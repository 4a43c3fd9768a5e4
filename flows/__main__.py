"""The command line ``pt-pipeline``: typed, and quick to start because each command imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.deploying import promote, rollback, versions
from flows.cli.keeping import maintenance
from flows.cli.options import Config, HomeFolder, Json, Set, Unsigned
from flows.cli.output import guarded
from flows.cli.trusting import keys
from flows.cli.using import predict, rebuild, score, verify
from flows.home import activate
from flows.load import DEFAULT_CONFIG

app = typer.Typer(
    name="pt-pipeline",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=(
        "Train a PyTorch classifier, convert and quantize it, measure every artifact, and let a gate decide "
        "which one may ship.\n\n"
        "Start with [bold]pt-pipeline run[/] (the digits example, about two minutes), then "
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
def evaluate(
    run: Annotated[
        str,
        typer.Argument(
            help="Name or MLflow id of a finished run, runs:/RUN/checkpoint, or a checkpoint's folder; the latest run "
            "if left out.",
            show_default=False,
        ),
    ] = "",
    config: Annotated[
        str,
        typer.Option(
            "--config",
            metavar="FILE|NAME",
            help="Whose data, measures and gate to take; the run's own if left out. A checkpoint needs one.",
            show_default=False,
        ),
    ] = "",
    overrides: Set = None,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Measure and judge the artifacts of a finished run anew, on this machine and without training.

    A run that another home made is fetched from MLflow; its key must be trusted here (pt-pipeline keys trust).
    """
    from flows.cli.evaluate import evaluate as command

    guarded(
        lambda: command(run, config, tuple(overrides or ()), activate(home), as_json=as_json),
        as_json=as_json,
    )


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


for _using in (verify, rebuild, predict, score):
    app.command()(_using)


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
for _deploying in (promote, rollback, versions, maintenance):
    app.command()(_deploying)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
