"""What ``up`` shows: a line for each thing that got ready, the links, and the services' logs, each in its colour."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from deployments.stack.places import folders, links
from flows.cli.output import messages, results
from flows.stack_state import StackState

_COLOURS = {"prefect": "blue", "mlflow": "cyan", "worker": "green", "webhook": "magenta"}
_WIDTH = 11


@dataclasses.dataclass(frozen=True)
class Screen:
    """The terminal of one ``up``; that nobody looks at it any more is no failure."""

    is_attached: bool = True
    """Whether somebody looks on as long as the stack runs: a detached one shows no logs, which are kept anyway."""

    @contextlib.contextmanager
    def waiting(self, name: str) -> Iterator[None]:
        """Show that something is waited for, where there is a terminal."""
        if not messages.is_terminal:
            yield
            return
        status = messages.status(f"waiting for {name}")
        with _nobody_looks():
            status.start()
        try:
            yield
        finally:
            with _nobody_looks():
                status.stop()

    def started(self, name: str, where: str | None, seconds: float) -> None:
        """Say that something is ready."""
        line = f"[green]✓[/] [bold]{name:<{_WIDTH}}[/] {escape(where or '')}  [dim]{seconds:.1f} s[/]"
        _print(messages, line)

    def show_links(self, state: StackState, home: Path) -> None:
        """Print where everything is, addresses unbroken so that a terminal keeps them clickable."""
        rows = [*((link.name, link.url) for link in links(state)), *folders(state, home).items()]
        width = max(len(name) for name, _ in rows)
        _print(results, "[bold]The stack is up[/]")
        for name, where in rows:
            _print(results, f"  {name:<{width}}  {escape(where)}")
        self.say(
            f"{'Ctrl-C or ' if self.is_attached else ''}pt-pipeline down stops it; pt-pipeline status looks at it"
        )

    def log(self, name: str, lines: Iterable[str]) -> None:
        """Print lines of a service's log, each with the service's name before it."""
        for line in lines if self.is_attached else ():
            prefix = f"[{_COLOURS.get(name, 'white')}]{name:<{_WIDTH}}│[/]"
            _print(messages, f"{prefix} {escape(line)}")

    def say(self, text: str) -> None:
        """Print a line of the stack itself."""
        _print(messages, f"[dim]{escape(text)}[/]")

    def warn(self, text: str) -> None:
        """Print a line that somebody should read."""
        _print(messages, f"[yellow]{escape(text)}[/]")


def _print(console: Console, line: str) -> None:
    with _nobody_looks():
        console.print(line, soft_wrap=True, highlight=False)


@contextlib.contextmanager
def _nobody_looks() -> Iterator[None]:
    """Go on where the terminal is closed or the pipe's reader gone: a stack has to be stopped in order all the same."""
    # rich ends the process where a pipe breaks.
    with contextlib.suppress(OSError, SystemExit):
        yield
