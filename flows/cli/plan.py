"""pt-pipeline plan: the tree of steps before any work."""

from __future__ import annotations

from rich.tree import Tree

from flows.check import check
from flows.cli.output import print_json, results
from flows.home import Home


def plan(config: str, overrides: tuple[str, ...], home: Home, *, as_json: bool) -> None:
    """Print the tree: what is cached, what would run, what is skipped and why.

    Raises:
        ConfigError: the configuration is not valid.
        PlanError: a chain cannot be built.
    """
    checked = check(config, overrides)
    from flows.forecast import forecast

    states = forecast(checked.settings, checked.plan, base_dir=checked.base_dir, home=home)
    if as_json:
        print_json(
            {"pipeline": checked.settings.name, "steps": [state.model_dump(mode="json") for state in states]}
        )
        return
    tree = Tree(f"[bold]{checked.settings.name}[/]  [dim]{checked.path}[/]")
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
