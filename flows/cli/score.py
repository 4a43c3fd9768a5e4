"""pt-pipeline score: one artifact's answers for any number of rows."""

from __future__ import annotations

from pathlib import Path

from flows.cli.display import terminal_display
from flows.cli.output import messages, print_json, print_line, results
from flows.cli.process import begin
from flows.home import Home, add_code_path
from flows.serving import check_model
from pt_core.scoring.requests import BadRowPolicy, Scores, check_paths


def score(
    model: str,
    source: Path,
    output: Path,
    home: Home,
    *,
    bad_rows: BadRowPolicy,
    id_column: str | None,
    overwrite: bool,
    timeout_s: float,
    memory_gib: float | None,
    unsigned: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the flow with progress on the terminal, then print what was written.

    Raises:
        PtCoreError: the model, the input or the output is refused, or the process ended early.
    """
    # Before Prefect is imported: a typo costs a second.
    check_paths(source, output)
    check_model(model)
    # A network's own code, which an artifact of format torch needs.
    add_code_path(Path.cwd())
    name = begin("score", home)
    from flows.score import score as score_flow
    from tasks.progress import use_display

    named = score_flow.with_options(flow_run_name=name)
    with terminal_display(messages) as display, use_display(display):
        scores = named(
            model,
            str(source),
            str(output),
            bad_rows=bad_rows,
            id_column=id_column,
            overwrite=overwrite,
            timeout_s=timeout_s,
            memory_gib=memory_gib,
            trust_unsigned=unsigned,
        )
    assert isinstance(scores, Scores), scores  # a failed state is raised
    if as_json:
        print_json(scores.model_dump(mode="json"))
        return
    _show(scores)


def _show(scores: Scores) -> None:
    resumed = f" (an earlier call had done {scores.num_resumed_rows:,})" if scores.num_resumed_rows else ""
    rate = f", {scores.rows_per_second:,.0f} rows/s" if scores.rows_per_second else ""
    results.print(
        f"[bold green]scored[/] {scores.num_rows:,} rows{resumed} in {scores.seconds:.1f} s{rate}",
        highlight=False,
    )
    if scores.bad_rows_file:
        results.print(f"not scored: {scores.num_bad_rows:,}", style="yellow", highlight=False)
        print_line("bad rows", scores.bad_rows_file)
    print_line("output", scores.output)
    print_line("model", f"{scores.model} ({scores.format}, {scores.bundle_digest[:12]})")
