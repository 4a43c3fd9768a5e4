"""pt-pipeline run: the main job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError
from rich.markup import escape
from rich.panel import Panel

from flows.cli.display import terminal_display
from flows.cli.output import fail, messages, print_json, print_line, results
from flows.cli.process import begin
from flows.cli.table import reasons, variants_table
from flows.document import run_document
from flows.home import Home
from pt_core.decision.compare import comparison_rows
from pt_core.decision.result import RunResult
from pt_core.errors import ConfigError, PtCoreError
from tasks.dashboard import dashboard_command


def run(
    config: str, overrides: tuple[str, ...], home: Home, *, checkpoint: Path | None = None, as_json: bool
) -> None:
    """Run the flow with progress on the terminal, then print the table or the JSON document.

    Args:
        config: a YAML file, or the name of a shipped configuration.
        overrides: changes to it.
        home: where everything is written.
        checkpoint: folder of a checkpoint to go on from in place of training.
        as_json: print one JSON document.

    Raises:
        PtCoreError: bad input, or a stage failed. Where no variant passed, or the promotion after the run failed, the
            result is printed all the same.
    """
    # The configuration is checked before Prefect is imported: a typo costs a second.
    from flows.check import check
    from flows.checkpoints import find_checkpoint

    settings = check(config, overrides).settings
    given = find_checkpoint(str(checkpoint), base_dir=Path(), where="--from") if checkpoint else None
    name = begin(settings.name, home, mlflow_may_be_away=True)
    from flows.lifecycle import lifecycle

    named = lifecycle.with_options(flow_run_name=name)
    run_and_show(
        lambda: named(config, overrides, given.directory if given else None), name, home, as_json=as_json
    )


def run_and_show(flow: Callable[[], object], name: str, home: Home, *, as_json: bool) -> None:
    """Run a flow with progress on the terminal, then print the result that it stored under its name.

    Raises:
        PtCoreError: it ended before there was a result.
        Exit: there is one, and the gate refused it or its promotion failed.
    """
    from tasks.progress import use_display

    refused: PtCoreError | None = None
    with terminal_display(messages) as display, use_display(display):
        try:
            flow()
        except PtCoreError as error:
            # Also where the run is finished and its promotion failed, there is a result to show.
            if not any(home.runs.glob(f"{name}-*/run.json")):
                raise
            refused = error
    (folder,) = home.runs.glob(f"{name}-*")
    show(folder, home, exit_code=refused.exit_code if refused else 0, as_json=as_json)
    if refused:
        fail(refused)


def read_result(folder: Path) -> RunResult:
    """Read the stored result of a run.

    Raises:
        ConfigError: it is damaged, or was written by another version.
    """
    try:
        return RunResult.from_json((folder / "run.json").read_bytes())
    except ValidationError as error:
        raise ConfigError(
            f"{folder / 'run.json'}: not a result that this version reads; run again"
        ) from error


def show(folder: Path, home: Home, *, exit_code: int, as_json: bool) -> None:
    """Print the stored result of a run."""
    result = read_result(folder)
    if as_json:
        print_json(run_document(result, folder=folder, exit_code=exit_code))
        return
    rows = comparison_rows(result)
    results.print(variants_table(rows, title=result.run_name))
    for line in reasons(rows):
        results.print(line, highlight=False, markup=False, style="dim")
    for variant in result.variants:
        if variant.problem:
            results.print(f"{variant.name}: {variant.problem}", highlight=False, markup=False, style="yellow")
    for sentence in result.warnings:
        results.print(sentence, highlight=False, markup=False, style="yellow")
    results.print(Panel(escape(result.sentence), border_style="green" if exit_code == 0 else "red"))
    _show_pages(result, folder, home)


def _show_pages(result: RunResult, folder: Path, home: Home) -> None:
    # A run that was fetched has its page in MLflow.
    if (folder / "report.html").is_file():
        print_line("report", str(folder / "report.html"))
    for link in result.links:
        print_line(link.name, link.url)
    if home.tracking_uri.startswith("sqlite"):
        print_line("open MLflow with", dashboard_command(home.tracking_uri))
