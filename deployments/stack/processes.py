"""The processes of a stack: started each in a session of its own, found again by the token in their environment."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from flows.stack_state import STACK_VARIABLE, ProcessId
from tasks.process_marks import mark_of

_KILL_PATIENCE_S = 10.0


def start(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path, folder: Path
) -> subprocess.Popen[bytes]:
    """Start a process whose output is added to a file.

    Its own session keeps the terminal's Ctrl-C from it, so that services are stopped one after the other.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def identify(pid: int) -> ProcessId:
    """Return a process's number with when it started; a process that is already gone started at 0."""
    try:
        return ProcessId(pid=pid, started=psutil.Process(pid).create_time(), mark=mark_of(pid))
    except psutil.NoSuchProcess:
        return ProcessId(pid=pid, started=0.0)


def members(token: str) -> Iterator[psutil.Process]:
    """Yield every process of a stack, however far down, in whatever session, and whoever its parent is by now."""
    for process in psutil.process_iter():
        # Other users' processes and those that just ended cannot be looked into, and are none of ours.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(STACK_VARIABLE) == token:
                yield process


def sweep(token: str) -> int:
    """Kill what is left of a stack until nothing is; return how many processes that were."""
    killed: set[int] = set()
    end = time.monotonic() + _KILL_PATIENCE_S
    while time.monotonic() < end:
        left = list(members(token))
        if not left:
            break
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                killed.add(process.pid)
        time.sleep(0.05)
    return len(killed)
