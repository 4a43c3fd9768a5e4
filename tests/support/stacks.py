"""``pt-pipeline up`` in tests: started on free ports in a home of its own, waited for, and stopped as Ctrl-C does."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from servers import free_port

from flows.stack_state import StackState, running_stack

READY_S = 180
GONE_S = 60


@dataclasses.dataclass(frozen=True)
class RealStack:
    home: Path
    environment: dict[str, str]
    """What a process needs to work with this stack."""
    prefect_url: str
    mlflow_url: str
    webhook_url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def state(self) -> StackState:
        found = running_stack(self.home)
        assert found is not None, self.log.read_text()
        return found


def start_up(home: Path, log: Path, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start ``pt-pipeline up`` on free ports."""
    ports = [f"--{name}-port={free_port()}" for name in ("prefect", "mlflow", "webhook")]
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "deployments", "up", "--home", str(home), *ports, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            start_new_session=True,
        )


def wait_until_ready(process: subprocess.Popen[bytes], home: Path, log: Path) -> StackState:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        state = running_stack(home)
        if state is not None and state.is_ready:
            return state
        time.sleep(0.2)
    stop_up(process)
    raise AssertionError(f"the stack is not ready:\n{log.read_text()[-4000:]}")


def stop_up(process: subprocess.Popen[bytes]) -> int:
    """End it as Ctrl-C does; return its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(GONE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
