"""A service that was started: its process, how it ended, and starting it again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from deployments.stack.logs import Follower, tail
from deployments.stack.processes import identify, start
from deployments.stack.services import Service
from flows.stack_state import ServiceState
from pt_core.errors import StepFailed

MAX_RESTARTS = 5
RESTART_WINDOW_S = 600.0
"""A service that ends by itself more than ``MAX_RESTARTS`` times within this time is broken, and so is the stack."""

TAIL_LINES = 8
"""How much of a log is in the message of a failure."""


@dataclasses.dataclass
class Child:
    """A started service; what changes as it is started again is changed here."""

    service: Service
    """Its plan."""
    process: subprocess.Popen[bytes]
    """Its process, the latest."""
    follower: Follower
    """Its log, as far as it was read."""
    began: float
    """When the latest process was started, in seconds since 1970."""
    is_ready: bool = False
    """Whether it has answered since the stack was started."""
    restarts: list[float] = dataclasses.field(default_factory=list)
    """When it was started again, by the monotonic clock."""

    def state(self) -> ServiceState:
        """Return what is written down of it."""
        return ServiceState(
            name=self.service.name,
            process=identify(self.process.pid),
            url=self.service.url,
            log=str(self.follower.path),
            num_restarts=len(self.restarts),
        )


def start_child(service: Service, shared: Mapping[str, str], folder: Path) -> Child:
    """Start a service; its log begins anew, and the last one is kept as ``<name>.log.1``."""
    log = folder / f"{service.name}.log"
    if log.exists():
        log.replace(folder / f"{service.name}.log.1")
    began = time.time()
    return Child(service, _start(service, shared, log), Follower(log), began)


def pause_s(child: Child) -> float:
    """Return how long to wait before a service is started again: not at all at first, then 1, 2, 4 and 8 s."""
    num = _num_recent(child)
    return 2.0 ** (num - 1) if num else 0.0


def start_again(child: Child, shared: Mapping[str, str]) -> bool:
    """Start a service again that ended by itself; return whether that was done, and not given up."""
    now = time.monotonic()
    if child.service.port is not None:
        # MLflow's second process would keep the port. A worker's flow runs go on without it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)
    if _num_recent(child) >= MAX_RESTARTS:
        return False
    child.restarts.append(now)
    child.began = time.time()
    child.process = _start(child.service, shared, child.follower.path)
    return True


def crash(child: Child) -> StepFailed:
    """Return the failure that a service's end is: which, how, and the end of its log."""
    log = child.follower.path
    return StepFailed(
        f"{child.service.name}: {describe_exit(child.process)}; its log is {log}",
        details=tail(log, num_lines=TAIL_LINES),
    )


def describe_exit(process: subprocess.Popen[bytes]) -> str:
    """Return how a process ended, as a clause."""
    code = process.returncode
    if code is None:
        return "still runs"
    if code < 0:
        known = {member.value: member.name for member in signal.Signals}
        return f"was killed by {known.get(-code, f'signal {-code}')}"
    return f"ended with exit code {code}"


def _num_recent(child: Child) -> int:
    now = time.monotonic()
    return len([then for then in child.restarts if now - then < RESTART_WINDOW_S])


def _start(service: Service, shared: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    environment = {**shared, **service.environment}
    return start(service.command, environment=environment, log=log, folder=log.parent)
