"""pt-pipeline run: the main job."""

from __future__ import annotations

import os
import secrets
import signal
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError
from rich.markup import escape
from rich.panel import Panel

from flows.cli.display import terminal_display
from flows.cli.output import messages, print_json, results
from flows.cli.table import reasons, variants_table
from flows.document import run_document
from flows.home import Home
from pt_core.decision.compare import comparison_rows
from pt_core.decision.result import RunResult
from pt_core.errors import ConfigError, GateRefused
from tasks.dashboard import dashboard_command


def run(config: str, overrides: tuple[str, ...], home: Home, *, as_json: bool) -> None:
    """Run the flow with progress on the terminal, then print the table or the JSON document.

    Raises:
        GateRefused: no variant passed; the result was printed all the same.
        PtCoreError: bad input, or a stage failed.
    """
    # The configuration is checked before Prefect is imported: a typo costs a second.
    from flows.check import check
    from flows.servers import check_servers

    settings = check(config, overrides).settings
    check_servers(home)
    # Prefect logs a traceback for every failed task; on a terminal the failure is said in one line instead.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    # By default SIGTERM ends a process at once, and Prefect's temporary server would live on.
    signal.signal(signal.SIGTERM, _leave)
    from flows.lifecycle import lifecycle
    from tasks.progress import use_display

    name = f"{settings.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    messages.print(f"[bold]{name}[/]  [dim]home {home.root}[/]")
    named = lifecycle.with_options(flow_run_name=name)
    refused: GateRefused | None = None
    with terminal_display(messages) as display, use_display(display):
        try:
            named(config, overrides)
        except GateRefused as error:
            refused = error
    (folder,) = home.runs.glob(f"{name}-*")
    show(folder, home, exit_code=refused.exit_code if refused else 0, as_json=as_json)
    if refused:
        raise refused


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


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
    _print_line("report", str(folder / "report.html"))
    for link in result.links:
        _print_line(link.name, link.url)
    if home.tracking_uri.startswith("sqlite"):
        _print_line("open MLflow with", dashboard_command(home.tracking_uri))


def _print_line(name: str, value: str) -> None:
    """Print without wrapping, so that a terminal keeps the address clickable."""
    results.print(f"[bold]{name}[/]  {value}", soft_wrap=True, highlight=False)
