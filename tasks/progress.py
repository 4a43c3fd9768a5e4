"""Show how far a task's child process is: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from prefect.runtime import task_run

from pt_core.isolation import Progress

logger = logging.getLogger(__name__)


class Display(Protocol):
    """Somewhere a person sees progress."""

    def start(self, name: str) -> None:
        """A task begins."""
        ...

    def update(self, name: str, progress: Progress) -> None:
        """A task is further on."""
        ...

    def finish(self, name: str, *, succeeded: bool) -> None:
        """A task ended."""
        ...

    def cached(self, name: str) -> None:
        """A task did not have to run."""
        ...


class _LogDisplay:
    """The display of a worker: one line whenever another quarter of the work is done."""

    def start(self, name: str) -> None:
        logger.info("%s: started", name)

    def update(self, name: str, progress: Progress) -> None:
        quarter = max(progress.total // 4, 1)
        if progress.done % quarter == 0:
            logger.info("%s: %d of %d %s", name, progress.done, progress.total, progress.message)

    def finish(self, name: str, *, succeeded: bool) -> None:
        logger.info("%s: %s", name, "finished" if succeeded else "failed")

    def cached(self, name: str) -> None:
        logger.info("%s: cached", name)


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
    with _shown(str(task_run.name)) as on_progress:
        yield on_progress


@contextlib.contextmanager
def _shown(name: str) -> Iterator[Callable[[Progress], None]]:
    display = _displays[-1]
    display.start(name)
    succeeded = False
    try:
        yield lambda progress: display.update(name, progress)
        succeeded = True
    finally:
        display.finish(name, succeeded=succeeded)
