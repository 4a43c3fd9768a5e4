"""pt-pipeline gate: what another policy would make of a finished run."""

from __future__ import annotations

from textwrap import shorten

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from flows.cli.compare import find_runs
from flows.cli.output import print_json, results
from flows.cli.run import read_result
from flows.home import Home
from flows.policy import load_policy, with_overrides
from pt_core.decision.config import GateConfig
from pt_core.decision.presets import DEFAULT
from pt_core.decision.rejudge import Rejudged, rejudge
from pt_core.decision.result import RunResult
from pt_core.errors import GateRefused

_MAX_REASON = 300
"""Characters of a reason in the table; the JSON document has it whole."""


def gate(run: str, home: Home, *, policy: str | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print every variant's old and new standing, and the winner.

    Args:
        run: name of a finished run.
        home: where runs are.
        policy: a preset or a YAML file; ``None`` is the policy that the run was judged by.
        overrides: changes to it, each "name.name=value".
        as_json: whether to print one JSON document instead.

    Raises:
        ConfigError: there is no such run or policy, or the policy is not valid.
        GateRefused: the policy chooses none; everything was printed all the same.
    """
    (folder,) = find_runs([run], home)
    result = read_result(folder)
    found = rejudge(result, _policy(result, policy, overrides))
    if as_json:
        print_json(_document(found))
    else:
        _show(found)
    if found.winner is None:
        raise GateRefused(found.sentence, details=[f"{c.variant}: {c.reason}" for c in found.variants])


def _policy(result: RunResult, name: str | None, overrides: tuple[str, ...]) -> GateConfig:
    if name is not None or result.policy is None:
        return load_policy(name or DEFAULT, overrides)
    return with_overrides(result.policy, overrides, where="the policy of the run")


def _document(found: Rejudged) -> dict[str, object]:
    plain = found.model_dump(mode="json")
    variants = [
        {**given, "changed": change.changed}
        for given, change in zip(plain["variants"], found.variants, strict=True)
    ]
    exit_code = 0 if found.winner else GateRefused.exit_code
    return {**plain, "variants": variants, "sentence": found.sentence, "exit_code": exit_code}


def _show(found: Rejudged) -> None:
    table = Table(title=found.run_name, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("variant", "was", "would be"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", overflow="fold")
    for change in found.variants:
        style = "bold" if change.changed else "dim"
        table.add_row(
            change.variant,
            change.before,
            change.after,
            escape(shorten(change.reason, _MAX_REASON)),
            style=style,
        )
    results.print(table)
    results.print(Panel(escape(found.sentence), border_style="green" if found.winner else "red"))
