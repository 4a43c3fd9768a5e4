"""``up --detach``: the same stack in a process of its own, waited for until it is ready."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import typer

from deployments.stack.logs import Follower
from deployments.stack.options import StackOptions
from deployments.stack.screen import Screen
from deployments.stack.services import python
from deployments.stack.state_file import only_stack
from flows.cli.output import guarded, messages
from flows.stack_state import running_stack, stack_folder

LOG = "up.log"
_POLL_S = 0.2


def up_detached(options: StackOptions) -> None:
    """Start the stack and come back once it is ready; it lives on until ``pt-pipeline down``.

    Raises:
        ConfigError: a stack is up here already.
        KeyboardInterrupt: the user did not want to wait; it is ended first.
        typer.Exit: it ended instead, with its own exit code, after its own words.
    """
    home = Path(options.home)
    log = stack_folder(home) / LOG
    with only_stack(home) as lock:
        log.write_bytes(b"")
        with log.open("ab") as output:
            process = subprocess.Popen(
                python("deployments.stack.detached"),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # It holds the lock from its first moment on, so that neither down nor another up comes in between.
                pass_fds=[lock],
            )
    # Not as an argument, which every user of the machine can read: it may hold the password of a database.
    _send(process, options)
    try:
        _follow(process, Follower(log), home)
    except KeyboardInterrupt:
        # It has a session of its own, and would come up all the same.
        messages.print("stopping", style="dim")
        process.terminate()
        process.wait()
        raise


def _send(process: subprocess.Popen[bytes], options: StackOptions) -> None:
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(options.to_json().encode())


def _follow(process: subprocess.Popen[bytes], said: Follower, home: Path) -> None:
    """Repeat what the stack says until it is ready or has ended."""
    while True:
        ended = process.poll()
        state = running_stack(home)
        is_ready = state is not None and state.supervisor.pid == process.pid and state.is_ready
        for line in said.lines(last=ended is not None):
            messages.print(line, markup=False, highlight=False, soft_wrap=True)
        if ended is not None:
            raise typer.Exit(ended)
        if is_ready and state is not None:
            Screen(is_attached=False).show_links(state, home)
            return
        time.sleep(_POLL_S)


def main() -> None:
    """Run a stack whose options are on standard input, under the lock that this process was started with."""
    from deployments.stack.up import up_held

    options = StackOptions.from_json(sys.stdin.read())
    guarded(lambda: up_held(options, screen=Screen(is_attached=False)), as_json=False)


if __name__ == "__main__":
    try:
        main()
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
