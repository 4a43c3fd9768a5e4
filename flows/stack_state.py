"""StackState: what runs in a home folder, as ``pt-pipeline up`` wrote it down."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pydantic import ValidationError

from pt_core.record import Record

STATE_FILE = "stack.json"
STACK_VARIABLE = "PT_PIPELINE_STACK"
"""What tells the processes of one stack from all others, by a token that each inherits in its environment."""


class ProcessId(Record):
    """A process, told apart from a later one with the same number by when it started."""

    pid: int
    """Its number."""
    started: float
    """When it started, in seconds since 1970."""

    def is_alive(self) -> bool:
        """Return whether this very process still runs."""
        import psutil  # only where a stack was started: every command reads this module

        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            return process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE
        return False


class ServiceState(Record):
    """One service of a stack."""

    name: str
    """prefect, mlflow, worker or webhook."""
    process: ProcessId
    """Its process; those that it started are its own affair."""
    url: str | None = None
    """Where it answers; ``None`` for the worker."""
    log: str
    """File with all that it printed."""
    num_restarts: int = 0
    """How often it was started again after it had ended by itself."""


class StackState(Record):
    """The stack of a home folder; holds no secret."""

    token: str
    """What every process of this stack, and of no other, has in its environment as PT_PIPELINE_STACK."""
    supervisor: ProcessId
    """The process of ``pt-pipeline up``; the stack is up as long as it lives."""
    prefect_url: str
    """Address of Prefect's pages, without a slash at its end."""
    mlflow_url: str
    """Address of MLflow, without a slash at its end."""
    webhook_url: str | None = None
    """Address of the webhook receiver, or ``None``."""
    auth: bool = False
    """Whether both servers ask for the passwords in the home's secrets."""
    is_ready: bool = False
    """Whether every service has answered and the deployments are applied."""
    services: tuple[ServiceState, ...] = ()
    """In the order of their start."""

    @property
    def prefect_api_url(self) -> str:
        """Address of Prefect's API."""
        return f"{self.prefect_url}/api"


def stack_folder(home: Path) -> Path:
    """Return where a stack keeps its state and its logs."""
    return home / "stack"


def secrets_folder(home: Path) -> Path:
    """Return where passwords are kept, one a file, readable by their owner only."""
    return home / "secrets"


def read_stack(home: Path) -> StackState | None:
    """Return what the last stack of this home wrote down, dead or alive; ``None`` if it ended in order."""
    try:
        return StackState.from_json((stack_folder(home) / STATE_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def running_stack(home: Path) -> StackState | None:
    """Return the stack that is up in this home, or ``None``; one that was killed does not count."""
    state = read_stack(home)
    return state if state is not None and state.supervisor.is_alive() else None


def client_environment(state: StackState, home: Path) -> dict[str, str]:
    """Return what a process that works with this stack has in its environment, passwords included."""
    environment = {"PREFECT_API_URL": state.prefect_api_url, "MLFLOW_TRACKING_URI": state.mlflow_url}
    if state.auth:
        folder = secrets_folder(home)
        user, _, password = (folder / "mlflow").read_text().strip().partition(":")
        environment |= {
            "PREFECT_API_AUTH_STRING": (folder / "prefect").read_text().strip(),
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
        }
    return environment
