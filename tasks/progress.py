"""Show how far a task's child process is: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Protocol, cast

from prefect.logging import get_run_logger
from prefect.runtime import task_run

from pt_core.isolation import Progress


class Display(Protocol):
    """Somewhere a person sees progress."""

    def start(self, name: str) -> int:
        """A task begins; return a number to name it by, since two tasks may share a name."""
        ...

    def update(self, bar: int, progress: Progress) -> None:
        """A task is further on."""
        ...

    def finish(self, bar: int, *, succeeded: bool) -> None:
        """A task ended."""
        ...

    def cached(self, name: str) -> None:
        """A task did not have to run."""
        ...


class _LogDisplay:
    """The display of a worker: Prefect's log of each task, a line whenever another quarter of the work is done."""

    def __init__(self) -> None:
        self._loggers: list[logging.LoggerAdapter[logging.Logger]] = []
        self._quarters: list[int] = []

    def start(self, name: str) -> int:
        # Taken here, on the task's own thread: progress arrives on another, which knows of no task.
        self._loggers.append(cast("logging.LoggerAdapter[logging.Logger]", get_run_logger()))
        self._quarters.append(0)
        self._loggers[-1].info("%s started", name)
        return len(self._loggers) - 1

    def update(self, bar: int, progress: Progress) -> None:
        quarter = 4 * progress.done // max(progress.total, 1)
        if quarter != self._quarters[bar]:
            self._quarters[bar] = quarter
            self._loggers[bar].info("%d of %d %s", progress.done, progress.total, progress.message)

    def finish(self, bar: int, *, succeeded: bool) -> None:
        self._loggers[bar].info("finished" if succeeded else "failed")

    def cached(self, name: str) -> None:
        get_run_logger().info("%s was taken from the cache", name)


_displays: list[Display] = [_LogDisplay()]


@contextlib.contextmanager
def use_display(display: Display) -> Iterator[None]:
    """Show progress on ``display`` while the block runs."""
    _displays.append(display)
    try:
        yield
    finally:
        _displays.pop()


def show_cached(name: str) -> None:
    """Say that a task's record was taken from an earlier run."""
    _displays[-1].cached(name)


@contextlib.contextmanager
def shown() -> Iterator[Callable[[Progress], None]]:
    """Show the running task; yields the callback for :func:`pt_core.isolation.run_isolated`."""
    display = _displays[-1]
    bar = display.start(str(task_run.name))
    succeeded = False
    try:
        yield lambda progress: display.update(bar, progress)
        succeeded = True
    finally:
        display.finish(bar, succeeded=succeeded)
