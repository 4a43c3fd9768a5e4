"""What ``up`` shows: a line for each thing that got ready, the links, and the services' logs, each in its colour."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.markup import escape

from deployments.stack.places import folders, links
from flows.cli.output import messages, results
from flows.stack_state import StackState

_COLOURS = {"prefect": "blue", "mlflow": "cyan", "worker": "green", "webhook": "magenta"}
_WIDTH = 11


@dataclasses.dataclass(frozen=True)
class Screen:
    """The terminal of one ``up``."""

    is_attached: bool = True
    """Whether somebody looks on as long as the stack runs: a detached one shows no logs, which are kept anyway."""

    @contextlib.contextmanager
    def waiting(self, name: str) -> Iterator[None]:
        """Show that something is waited for, where there is a terminal."""
        if not messages.is_terminal:
            yield
            return
        with messages.status(f"waiting for {name}"):
            yield

    def started(self, name: str, where: str | None, seconds: float) -> None:
        """Say that something is ready."""
        line = f"[green]✓[/] [bold]{name:<{_WIDTH}}[/] {escape(where or '')}  [dim]{seconds:.1f} s[/]"
        messages.print(line, soft_wrap=True, highlight=False)

    def show_links(self, state: StackState, home: Path) -> None:
        """Print where everything is, addresses unbroken so that a terminal keeps them clickable."""
        rows = [*((link.name, link.url) for link in links(state)), *folders(state, home).items()]
        width = max(len(name) for name, _ in rows)
        results.print("[bold]The stack is up[/]")
        for name, where in rows:
            results.print(f"  {name:<{width}}  {escape(where)}", soft_wrap=True, highlight=False)
        self.say(
            f"{'Ctrl-C or ' if self.is_attached else ''}pt-pipeline down stops it; pt-pipeline status looks at it"
        )

    def log(self, name: str, lines: Iterable[str]) -> None:
        """Print lines of a service's log, each with the service's name before it."""
        for line in lines if self.is_attached else ():
            prefix = f"[{_COLOURS.get(name, 'white')}]{name:<{_WIDTH}}│[/]"
            messages.print(f"{prefix} {escape(line)}", soft_wrap=True, highlight=False)

    def say(self, text: str) -> None:
        """Print a line of the stack itself."""
        messages.print(f"[dim]{escape(text)}[/]", soft_wrap=True, highlight=False)

    def warn(self, text: str) -> None:
        """Print a line that somebody should read."""
        messages.print(f"[yellow]{escape(text)}[/]", soft_wrap=True, highlight=False)
