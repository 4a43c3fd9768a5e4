"""Stop a stack in the reverse order of its start, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence

import psutil

from deployments.stack.child import Child
from deployments.stack.processes import members, sweep

PATIENCE_S = 10.0
"""How long a service may take to end before it is killed."""

RUN_PATIENCE_S = 8.0
"""How long the flow runs may take to tell Prefect that they were stopped."""

_POLL_S = 0.1


def stop(children: Sequence[Child], token: str, *, hasten: Callable[[], bool]) -> int:
    """Stop every service, the last one first; return how many processes had to be killed in the end.

    Args:
        children: in the order of their start.
        token: the stack's.
        hasten: whether the user asked a second time, so that nobody waits any longer.
    """
    for child in reversed(children):
        if child.service.name == "worker":
            _stop_runs(child, [other for other in children if other is not child], token, hasten)
        _send(child, signal.SIGTERM)
        _send(child, signal.SIGCONT)
        _wait(child, PATIENCE_S, hasten)
        if child.process.poll() is None:
            child.process.kill()
    killed = sweep(token)
    for child in children:
        child.process.wait()
    return killed


def _stop_runs(worker: Child, servers: Sequence[Child], token: str, hasten: Callable[[], bool]) -> None:
    """Have the flow runs say that they crashed, while Prefect still listens; those of a worker that died are among them.

    The worker is held still meanwhile: told to end, it would kill its runs before they said so, and left alone it
    would take the next one. Only the run itself is told: it ends its own children.
    """
    _send(worker, signal.SIGSTOP)
    sessions = {server.process.pid for server in servers}
    found = {process.pid: process for process in members(token) if process.pid != worker.process.pid}
    runs = {pid: process for pid, process in found.items() if _session(pid) not in sessions}
    for process in runs.values():
        with contextlib.suppress(psutil.Error):
            if process.ppid() not in runs:
                process.terminate()
    end = time.monotonic() + RUN_PATIENCE_S
    while any(_is_at_work(process) for process in runs.values()) and time.monotonic() < end and not hasten():
        time.sleep(_POLL_S)


def _is_at_work(process: psutil.Process) -> bool:
    """Return whether a process has not ended; a worker that is held still buries none."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _send(child: Child, number: signal.Signals) -> None:
    if child.process.poll() is None:
        child.process.send_signal(number)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _wait(child: Child, patience_s: float, hasten: Callable[[], bool]) -> None:
    end = time.monotonic() + patience_s
    while child.process.poll() is None and time.monotonic() < end and not hasten():
        time.sleep(_POLL_S)
