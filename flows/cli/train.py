"""pt-pipeline train: training alone."""

from __future__ import annotations

from flows.check import check
from flows.cli.display import terminal_display
from flows.cli.output import messages, print_json, print_line, results
from flows.cli.process import begin
from flows.home import Home
from flows.train_result import TrainResult, kept_epoch, train_document
from pt_core.artifacts.checkpoint import StartedFrom
from tasks.dashboard import dashboard_command


def train(config: str, overrides: tuple[str, ...], home: Home, *, as_json: bool) -> None:
    """Run the flow with progress on the terminal, then print the checkpoint or the JSON document.

    Raises:
        PtCoreError: bad input, or a stage failed.
    """
    # The configuration is checked before Prefect is imported: a typo costs a second.
    name = begin(check(config, overrides).settings.name, home, mlflow_may_be_away=True)
    from flows.train import train_alone
    from tasks.progress import use_display

    named = train_alone.with_options(flow_run_name=name)
    with terminal_display(messages) as display, use_display(display):
        result = named(config, overrides)
    if as_json:
        print_json(train_document(result))
        return
    _show(result, home)


def _show(result: TrainResult, home: Home) -> None:
    checkpoint = result.checkpoint
    kept = kept_epoch(checkpoint)
    print_line("checkpoint", checkpoint.directory)
    print_line("digest", checkpoint.digest)
    print_line(
        "validation accuracy",
        f"{kept.validation_accuracy:.4f} in epoch {kept.epoch} of {len(checkpoint.history)}, "
        f"loss {kept.validation_loss:.4f}",
    )
    frozen = checkpoint.num_frozen_parameters
    flops = checkpoint.flops_per_sample
    print_line(
        "network",
        f"{checkpoint.spec.target}, {checkpoint.num_parameters:,} parameters trained"
        + (f", {frozen:,} frozen" if frozen else "")
        + (f", {flops:,} floating-point operations for one sample" if flops else ""),
    )
    if checkpoint.warm_start:
        _show_warm_start(checkpoint.warm_start)
    for remark in checkpoint.remarks:
        results.print(remark, highlight=False, markup=False, style="yellow")
    for line in result.checks:
        results.print(f"  [green]✓[/] {line}", highlight=False)
    for link in result.links:
        print_line(link.name, link.url)
    if home.tracking_uri.startswith("sqlite"):
        print_line("open MLflow with", dashboard_command(home.tracking_uri))
    print_line("go on with", result.go_on)


def _show_warm_start(started: StartedFrom) -> None:
    print_line("warm start", started.sentence)
    for problem in started.report.problems:
        results.print(f"  not loaded: {problem}", highlight=False, markup=False, style="yellow")
