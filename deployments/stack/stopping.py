"""Stop a stack in the reverse order of its start, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence

import psutil

from deployments.stack.child import Child
from deployments.stack.processes import members, sweep

PATIENCE_S = 10.0
"""How long a service may take to end before it is killed."""

RUN_PATIENCE_S = 15.0
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
        if child.process.poll() is None:
            child.process.terminate()
        if child.service.name == "worker":
            _stop_runs(child, [other for other in children if other is not child], token, hasten)
        _wait(child, PATIENCE_S, hasten)
        if child.process.poll() is None:
            child.process.kill()
    killed = sweep(token)
    for child in children:
        child.process.wait()
    return killed


def _stop_runs(worker: Child, servers: Sequence[Child], token: str, hasten: Callable[[], bool]) -> None:
    """Have the flow runs say that they were stopped, while Prefect still listens; the worker takes no more by now.

    Those of a worker that died are among them. Only the run itself is told: it ends its own children.
    """
    sessions = {server.process.pid for server in servers}
    found = {process.pid: process for process in members(token) if process.pid != worker.process.pid}
    runs = {pid: process for pid, process in found.items() if _session(pid) not in sessions}
    for process in runs.values():
        with contextlib.suppress(psutil.Error):
            if process.ppid() not in runs:
                process.terminate()
    end = time.monotonic() + RUN_PATIENCE_S
    while any(process.is_running() for process in runs.values()) and time.monotonic() < end and not hasten():
        time.sleep(_POLL_S)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _wait(child: Child, patience_s: float, hasten: Callable[[], bool]) -> None:
    end = time.monotonic() + patience_s
    while child.process.poll() is None and time.monotonic() < end and not hasten():
        time.sleep(_POLL_S)
