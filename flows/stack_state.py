"""StackState: what runs in a home folder, as ``pt-pipeline up`` wrote it down."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from pt_core.errors import ConfigError
from pt_core.record import Record
from tasks.process_marks import mark_of

STATE_FILE = "stack.json"
STACK_VARIABLE = "PT_PIPELINE_STACK"
"""What tells the processes of one stack from all others, by a token that each inherits in its environment."""

NO_PROXY = ("NO_PROXY", "no_proxy")
"""The hosts that are reached without a proxy; which of the two names is read differs between libraries."""


class ProcessId(Record):
    """A process, told apart from a later one with the same number by when it started."""

    pid: int
    """Its number."""
    started: float
    """When it started, in seconds since 1970."""
    mark: str = ""
    """What names it whatever the clock is set to; empty where the system does not tell, and the time has to do."""

    def is_alive(self) -> bool:
        """Return whether this very process still runs."""
        if self.mark:
            return mark_of(self.pid) == self.mark
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
    """Return what the last stack of this home wrote down, dead or alive; ``None`` if it ended in order.

    Raises:
        ConfigError: somebody else wrote it, or could have: it says where passwords are sent and which process is ended.
    """
    path = stack_folder(home) / STATE_FILE
    try:
        for place in (path.parent, path):
            _check_ours(place)
        return StackState.from_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _check_ours(path: Path) -> None:
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{path}: belongs to another user (uid {found.st_uid}); choose another --home")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"{path}: other users can change it; chmod -R go-w {path}, or choose another --home"
        )


def running_stack(home: Path) -> StackState | None:
    """Return the stack that is up in this home, or ``None``; one that was killed does not count."""
    state = read_stack(home)
    return state if state is not None and state.supervisor.is_alive() else None


def client_environment(state: StackState, home: Path) -> dict[str, str]:
    """Return what a process that works with this stack has in its environment, passwords included.

    Raises:
        ConfigError: a password is not there.
    """
    environment = {
        "PREFECT_API_URL": state.prefect_api_url,
        "MLFLOW_TRACKING_URI": state.mlflow_url,
        **without_proxy(state.prefect_url, state.mlflow_url),
    }
    if state.auth:
        folder = secrets_folder(home)
        user, _, password = _secret(folder / "mlflow").partition(":")
        environment |= {
            "PREFECT_API_AUTH_STRING": _secret(folder / "prefect"),
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
        }
    return environment


def without_proxy(*addresses: str) -> dict[str, str]:
    """Return the variables by which no proxy is asked for a stack, beside what is exempt in this process's environment."""
    known = ",".join(os.environ.get(name, "") for name in NO_PROXY)
    own = [urlsplit(address).hostname or "" for address in addresses]
    hosts = dict.fromkeys(host.strip() for host in (*known.split(","), *own, "127.0.0.1", "localhost"))
    # Beside others, a star is no longer taken for all of them.
    value = "*" if "*" in hosts else ",".join(host for host in hosts if host)
    return dict.fromkeys(NO_PROXY, value)


def _secret(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read the password of the stack that is up here: {error.strerror}; bring the file back, or "
            "start the stack again: pt-pipeline down, then pt-pipeline up --auth"
        ) from error
