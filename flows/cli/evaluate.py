"""pt-pipeline evaluate: measure and judge what a finished run built, anew and on this machine."""

from __future__ import annotations

from flows.cli.process import begin
from flows.cli.run import run_and_show
from flows.home import Home
from flows.servers import check_servers
from pt_core.decision.result import RunResult

_NO_PROMOTION = "promotion.after_run=false"
"""Measuring is no release: whoever wants one says so by a setting after this, or by pt-pipeline promote."""


def evaluate(run: str, config: str, overrides: tuple[str, ...], home: Home, *, as_json: bool) -> None:
    """Run the flow with progress on the terminal, then print the table or the JSON document.

    Args:
        run: name or MLflow id of a run, or a checkpoint; the latest run if empty.
        config: whose data, measures and gate to take; those of the run if empty.
        overrides: changes to it.
        home: where everything is written.
        as_json: print one JSON document.

    Raises:
        PtCoreError: there is no such run, or a stage failed. Where no variant passed, the result is printed all the same.
    """
    # All that can be refused is, before Prefect is imported and its server is started.
    from flows.existing import check_existing, check_for_checkpoint, find_existing

    changes = (_NO_PROMOTION, *overrides)
    check_servers(home)
    found = find_existing(home, run)
    if isinstance(found, RunResult):
        run = found.run_name
        checked = check_existing(found, config, changes)
    else:
        checked = check_for_checkpoint(run, config, changes)
    name = begin(f"{checked.settings.name}-evaluate", home)
    from flows.evaluate import evaluate as flow

    named = flow.with_options(flow_run_name=name)
    run_and_show(
        lambda: named(run, config, promote="as configured", overrides=changes), name, home, as_json=as_json
    )
