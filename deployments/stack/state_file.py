"""The state of a stack on disk: written by ``up`` alone, which holds the home's lock as long as it lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from flows.stack_state import STATE_FILE, StackState, running_stack, stack_folder
from pt_core.errors import ConfigError
from pt_core.files import write_bytes_atomically


@contextlib.contextmanager
def only_stack(home: Path) -> Iterator[int]:
    """Hold this home for one stack, and yield the lock; the system lets go of it once nobody has it open any more.

    Raises:
        ConfigError: another one is up here.
    """
    with _opened(home) as lock:
        if not _lock(lock):
            raise ConfigError(_already_up(home))
        yield lock


@contextlib.contextmanager
def try_lock(home: Path) -> Iterator[bool]:
    """Yield whether no stack holds this home; if so none can begin before the block ends."""
    with _opened(home) as lock:
        yield _lock(lock)


@contextlib.contextmanager
def _opened(home: Path) -> Iterator[int]:
    folder = stack_folder(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_state(state: StackState, home: Path) -> None:
    """Write down what runs."""
    write_bytes_atomically(stack_folder(home) / STATE_FILE, state.to_json().encode(), mode=0o600)


def forget_state(home: Path) -> None:
    """Say that the stack ended in order."""
    (stack_folder(home) / STATE_FILE).unlink(missing_ok=True)


def _already_up(home: Path) -> str:
    state = running_stack(home)
    if state is None:
        return f"{home}: another pt-pipeline up is just starting or stopping in this home; wait for it"
    return (
        f"{home}: a stack is already up in this home, by process {state.supervisor.pid}: Prefect {state.prefect_url}, "
        f"MLflow {state.mlflow_url}; look at it by pt-pipeline status, end it by pt-pipeline down"
    )
