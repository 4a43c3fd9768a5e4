"""pt-pipeline down: end the stack of a home, and what a killed one left there."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from deployments.stack.processes import sweep
from deployments.stack.state_file import forget_state, try_lock
from flows.cli.output import messages
from flows.home import Home
from flows.stack_state import ProcessId, StackState, read_stack, stack_folder
from pt_core.errors import StepFailed

PATIENCE_S = 90.0
"""Above what the services together may take to end."""

_POLL_S = 0.1


def down(home: Home) -> None:
    """Ask the stack to end and wait for it; then kill what belongs to it and is still there.

    Raises:
        ConfigError: the stack is another user's.
        StepFailed: it does not end.
    """
    root = Path(home.root)
    asked: set[ProcessId] = set()
    end = time.monotonic() + PATIENCE_S
    # The lock is free a moment before its process has ended.
    while any(process.is_alive() for process in asked) or not _clear(root, was_up=bool(asked)):
        # A stack that is just starting has written nothing down yet: it is waited for, too.
        state = read_stack(root)
        if state is not None and state.supervisor not in asked and state.supervisor.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.supervisor.pid, signal.SIGTERM)
            asked.add(state.supervisor)
            end = time.monotonic() + PATIENCE_S
        if time.monotonic() > end:
            raise StepFailed(_stuck(root, state))
        time.sleep(_POLL_S)


def _clear(root: Path, *, was_up: bool) -> bool:
    """Once no process holds the home, kill what is left there and say so; return whether that was done."""
    with try_lock(root) as is_free:
        if not is_free:
            return False
        left = read_stack(root)
        killed = sweep(left.token) if left is not None else 0
        forget_state(root)
    told = f", {killed} processes that were left of it have been killed" if killed else ""
    line = f"the stack in {root} is down{told}" if was_up or left else f"no stack is up in {root}"
    messages.print(line, markup=False, highlight=False, soft_wrap=True)
    return True


def _stuck(root: Path, state: StackState | None) -> str:
    lock = stack_folder(root) / "lock"
    if state is None:
        return f"a process that holds {lock} has not ended after {PATIENCE_S:g} s; find it by fuser {lock}"
    return (
        f"process {state.supervisor.pid} of pt-pipeline up has not ended after {PATIENCE_S:g} s; "
        f"kill it (kill -9 {state.supervisor.pid}), then run pt-pipeline down again"
    )
