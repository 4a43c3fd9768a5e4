"""pt-pipeline down: end the stack of a home, and what a killed one left there."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from deployments.stack.processes import sweep
from deployments.stack.state_file import forget_state
from flows.cli.output import messages
from flows.home import Home
from flows.stack_state import ProcessId, read_stack
from pt_core.errors import StepFailed

PATIENCE_S = 90.0
"""Above what the services together may take to end."""

_POLL_S = 0.1


def down(home: Home) -> None:
    """Ask the stack to end and wait for it; then kill what belongs to it and is still there.

    Raises:
        StepFailed: it does not end.
    """
    root = Path(home.root)
    state = read_stack(root)
    if state is None:
        messages.print(f"no stack is up in {root}", markup=False, highlight=False, soft_wrap=True)
        return
    _end(state.supervisor)
    left = sweep(state.token)
    forget_state(root)
    told = f", {left} processes that were left of it have been killed" if left else ""
    messages.print(f"the stack in {root} is down{told}", markup=False, highlight=False, soft_wrap=True)


def _end(supervisor: ProcessId) -> None:
    if supervisor.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor.pid, signal.SIGTERM)
    end = time.monotonic() + PATIENCE_S
    while supervisor.is_alive():
        if time.monotonic() > end:
            raise StepFailed(
                f"process {supervisor.pid} of pt-pipeline up has not ended after {PATIENCE_S:g} s; "
                f"kill it (kill -9 {supervisor.pid}), then run pt-pipeline down again"
            )
        time.sleep(_POLL_S)
