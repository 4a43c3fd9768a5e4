"""Progress on a terminal: one bar for each task at work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from pt_core.isolation import Progress


class TerminalDisplay:
    """The :class:`tasks.progress.Display` of the command line."""

    def __init__(self, bars: Bars) -> None:
        """Show tasks on ``bars``."""
        self._bars = bars

    def start(self, name: str) -> int:
        """Add a pulsing bar."""
        return self._bars.add_task(name, total=None, message="")

    def update(self, bar: int, progress: Progress) -> None:
        """Move the bar."""
        self._bars.update(
            TaskID(bar), completed=progress.done, total=progress.total, message=progress.message
        )

    def finish(self, bar: int, *, succeeded: bool) -> None:
        """Replace the bar by a line above, so that the screen keeps a log."""
        task = self._bars.tasks[self._bars.task_ids.index(TaskID(bar))]
        mark = "[green]✓[/]" if succeeded else "[red]✗[/]"
        message = task.fields["message"]
        self._bars.console.print(f"{mark} {task.description}  [dim]{task.elapsed or 0:.1f} s  {message}[/]")
        self._bars.remove_task(TaskID(bar))

    def cached(self, name: str) -> None:
        """Print a line for a record taken from an earlier run."""
        self._bars.console.print(f"[green]✓[/] {name}  [dim]cached[/]")


@contextlib.contextmanager
def terminal_display(console: Console) -> Iterator[TerminalDisplay]:
    """Yield a live display on ``console``; on a pipe only the finished lines appear."""
    bars = Bars(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("[dim]{task.fields[message]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bars:
        yield TerminalDisplay(bars)
