"""``pt-pipeline up`` in tests: started on free ports in a home of its own, waited for, and stopped as Ctrl-C does."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from servers import free_port

from deployments.stack.health import ask
from flows.stack_state import StackState, client_environment, running_stack

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
    deployed: tuple[str, ...] = ()
    """Names of the deployments that its server had when it was ready: tests make others."""

    @property
    def state(self) -> StackState:
        found = running_stack(self.home)
        assert found is not None, self.log.read_text()
        return found


def start_up(
    home: Path, log: Path, *options: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start ``pt-pipeline up`` on free ports, in the folder of its log."""
    ports = [f"--{name}-port={free_port()}" for name in ("prefect", "mlflow", "webhook")]
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "deployments", "up", "--home", str(home), *ports, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            start_new_session=True,
        )


def pt_pipeline(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of the product to its end."""
    return subprocess.run(
        [sys.executable, "-m", "deployments", *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


NAPS = """\
import time

from prefect import flow


@flow
def nap(seconds: float) -> None:
    time.sleep(seconds)
"""

DEPLOYMENTS = """\
name: naps
deployments:
  - name: nap
    entrypoint: naps.nap
    work_pool: {name: local, job_variables: {env: {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: "30"}}}
"""


def naps(folder: Path) -> Path:
    """Write a flow that sleeps and the file that deploys it; return that file."""
    (folder / "naps.py").write_text(NAPS)
    (folder / "prefect.yaml").write_text(DEPLOYMENTS)
    return folder / "prefect.yaml"


def start_nap(state: StackState, home: Path, seconds: float) -> str:
    """Start a run of the deployed flow, as a user of the command line does; return its id."""
    environment = {**os.environ, **client_environment(state, home), "PREFECT_HOME": str(home / "prefect")}
    started = subprocess.run(
        [sys.executable, "-m", "prefect", "deployment", "run", "nap/nap", "--param", f"seconds={seconds}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return started.stdout.rsplit("/", 1)[1].strip()


def wait_for_state(
    state: StackState, run: str, wanted: str, *, login: str | None = None, seconds: float = 180
) -> None:
    """Wait until Prefect says that a run is in a state, e.g. RUNNING."""
    end = time.monotonic() + seconds
    found = None
    while time.monotonic() < end:
        body = ask(f"{state.prefect_api_url}/flow_runs/{run}", login=login)
        found = json.loads(body)["state_type"] if body else None
        if found == wanted:
            return
        time.sleep(0.2)
    raise AssertionError(f"{run} is {found}, expected {wanted}")


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
