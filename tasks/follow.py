"""Log a training to MLflow while it goes on: every epoch's figures as they come, and how busy the machine is."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator

import psutil

from pt_core.isolation import Progress
from tasks import tracking
from tasks.dashboard import TrackedRun

logger = logging.getLogger(__name__)

SAMPLE_EVERY_S = 5.0
"""Seconds between two looks at the machine."""

_PATIENCE_S = 10.0
_GATHER_S = 1.0
_MIB = 2**20


@contextlib.contextmanager
def followed(
    run: TrackedRun | None, *, sample_every_s: float = SAMPLE_EVERY_S
) -> Iterator[Callable[[Progress], None]]:
    """Yield what takes the figures that a training tells; a thread logs them, so that nothing waits for MLflow.

    Where MLflow fails, that is said once and the rest is left to who logs the finished training.

    Args:
        run: where to log; ``None`` logs nothing.
        sample_every_s: seconds between two looks at the machine.
    """
    if run is None:
        yield lambda _: None
        return
    told: queue.Queue[Progress | None] = queue.Queue()
    thread = threading.Thread(target=_log, args=(run, told, sample_every_s), daemon=True)
    thread.start()
    try:
        yield lambda progress: told.put(progress) if progress.figures else None
    finally:
        told.put(None)
        thread.join(timeout=_PATIENCE_S)


def _log(run: TrackedRun, told: queue.Queue[Progress | None], sample_every_s: float) -> None:
    num_samples, due = 0, time.monotonic() + sample_every_s
    # The first look only starts the count of the processor's time.
    psutil.cpu_percent()
    goes_on = True
    try:
        while goes_on:
            figures, goes_on = _gathered(told, until=due)
            if figures:
                tracking.log_figures(run, figures)
            if goes_on and time.monotonic() >= due:
                tracking.log_figures(run, {num_samples: system_figures()})
                num_samples, due = num_samples + 1, time.monotonic() + sample_every_s
    except Exception as error:  # noqa: BLE001 - a training does not fail because MLflow cannot be reached
        logger.warning("MLflow: the training is logged when it has ended, not while it goes on: %s", error)


def _gathered(
    told: queue.Queue[Progress | None], *, until: float
) -> tuple[dict[int, dict[str, float]], bool]:
    """Return the figures of the steps that end within a second of each other, and whether more may come.

    A small network has ten epochs a second: a call for each would take from the training what it computes with.
    """
    figures: dict[int, dict[str, float]] = {}
    while (left := until - time.monotonic()) > 0 or not told.empty():
        try:
            progress = told.get(timeout=max(0.0, left))
        except queue.Empty:
            break
        if progress is None:
            return figures, False
        if not figures:
            until = min(until, time.monotonic() + _GATHER_S)
        named = {f"training/{name}": value for name, value in progress.figures.items()}
        figures.setdefault(progress.step or 0, {}).update(named)
    return figures, True


def system_figures() -> dict[str, float]:
    """Return how busy the machine is, under MLflow's own names, and the memory that this process's children take."""
    memory = psutil.virtual_memory()
    return {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / _MIB,
        "system/system_memory_usage_percentage": memory.percent,
        "system/steps_memory_megabytes": sum(map(_resident, psutil.Process().children(recursive=True)))
        / _MIB,
    }


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it ended meanwhile
        return 0
