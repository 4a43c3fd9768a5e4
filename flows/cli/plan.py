"""pt-pipeline plan: the tree of steps before any work."""

from __future__ import annotations

from pathlib import Path

from rich.tree import Tree

from flows.check import check
from flows.cli.output import print_json, results
from flows.home import Home


def plan(config: Path, overrides: tuple[str, ...], home: Home, *, as_json: bool) -> None:
    """Print the tree: what is cached, what would run, what is skipped and why.

    Raises:
        ConfigError: the configuration is not valid.
        PlanError: a chain cannot be built.
    """
    settings, chosen = check(config, overrides)
    from flows.forecast import forecast

    states = forecast(settings, chosen, base_dir=config.resolve().parent, home=home)
    if as_json:
        print_json({"pipeline": settings.name, "steps": [state.model_dump(mode="json") for state in states]})
        return
    tree = Tree(f"[bold]{settings.name}[/]  [dim]{config}[/]")
    branches: dict[str | None, Tree] = {None: tree}
    for state in states:
        colour = {"cached": "green", "skipped": "yellow"}.get(state.state, "cyan")
        why = f"  [dim]{state.reason}[/]" if state.reason else ""
        names = f"  [bold]= {', '.join(state.variants)}[/]" if state.variants else ""
        branches[state.key] = branches[state.parent].add(
            f"{state.name}{names}  [{colour}]{state.state}[/]{why}"
        )
    results.print(tree)
    results.print("[dim]speed is measured in every run; verdicts are never cached[/]")
