"""The life of a stack: started service by service, watched over, and stopped whatever happens in between."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from deployments.stack.child import (
    MAX_RESTARTS,
    TAIL_LINES,
    Child,
    crash,
    describe_exit,
    pause_s,
    start_again,
    start_child,
)
from deployments.stack.health import answers, lets_in
from deployments.stack.interrupts import Interrupts
from deployments.stack.logs import tail
from deployments.stack.options import StackOptions
from deployments.stack.prepare import WARNING
from deployments.stack.processes import identify, start
from deployments.stack.screen import Screen
from deployments.stack.services import Secrets, Service, preparing_environment, python, shared_environment
from deployments.stack.state_file import write_state
from deployments.stack.stopping import stop
from deployments.stack.watcher import Watcher
from flows.stack_state import StackState, secrets_folder, stack_folder
from pt_core.errors import ConfigError, StepFailed

START_PATIENCE_S = 180.0
"""How long a service may take until it answers: a fresh database on a busy machine takes a minute."""

_POLL_S = 0.2
_ROTATE_EVERY = 300
_MAX_WARNINGS = 20


@dataclasses.dataclass
class Stack:
    """A stack at work; what changes while it runs is changed here."""

    options: StackOptions
    """What the user chose."""
    secrets: Secrets
    """What its services alone know."""
    services: tuple[Service, ...]
    """The plan, in the order of the start."""
    prefect_file: Path
    """The deployments to apply."""
    token: str
    """What its processes are found by."""
    interrupts: Interrupts
    """Whether the user asked for its end."""
    screen: Screen
    """Where it speaks."""
    children: list[Child] = dataclasses.field(default_factory=list)
    """What was started so far."""
    is_ready: bool = False
    """Whether all of it has answered."""
    told: set[str] = dataclasses.field(default_factory=set)
    """What the system refused and was said once."""

    @property
    def home(self) -> Path:
        """The home folder."""
        return Path(self.options.home)

    @property
    def shared(self) -> dict[str, str]:
        """What every process of it has in its environment."""
        return shared_environment(self.options, self.secrets, self.token)


def run_stack(stack: Stack) -> None:
    """Start everything, watch over it until the user asks for its end, and stop everything, whatever happens.

    Raises:
        StepFailed: a service did not start, or ended again and again.
    """
    watcher = Watcher(stack.token)
    try:
        if start_all(stack):
            stack.is_ready = True
            _write(stack)
            if stack.screen.is_attached:
                stack.screen.show_links(_state(stack), stack.home)
            watch(stack, watcher)
    finally:
        stack.screen.say("stopping")
        killed = stop(stack.children, stack.token, hasten=stack.interrupts.hasten)
        watcher.dismiss()
        stack.screen.say(f"stopped{f', {killed} processes had to be killed' if killed else ''}")


def start_all(stack: Stack) -> bool:
    """Start the services in their order; return whether the user let it finish.

    The servers start side by side; the worker needs its pool, which is made with the deployments.
    """
    prefect, mlflow, *others = stack.services
    _start(stack, prefect, mlflow)
    with stack.screen.waiting("Prefect"):
        if not _until(stack, lambda: stack.children[0].is_ready):
            return False
    with stack.screen.waiting("the deployments"):
        if not _apply_deployments(stack):
            return False
    _start(stack, *others)
    with stack.screen.waiting("the others"):
        return _until(stack, lambda: all(child.is_ready for child in stack.children))


def _start(stack: Stack, *services: Service) -> None:
    for service in services:
        stack.children.append(start_child(service, stack.shared, stack_folder(stack.home)))
    _write(stack)


def _until(stack: Stack, is_done: Callable[[], bool]) -> bool:
    """Wait, looking after what was started so far; return whether the user let it.

    Raises:
        StepFailed: a service ended, or gave no answer.
    """
    while True:
        for child in stack.children:
            if child.process.poll() is not None:
                # While the stack starts nothing is tried twice: what is wrong will be wrong again.
                raise crash(child)
            if not child.is_ready:
                _look_at(stack, child)
        if is_done():
            return True
        if stack.interrupts.wait(_POLL_S):
            return False


def _look_at(stack: Stack, child: Child) -> None:
    """Note that a service answers, or that it takes too long."""
    service, seconds = child.service, time.time() - child.began
    if answers(service, login=stack.secrets.prefect_login, since=child.began):
        child.is_ready = True
        _check_login(stack, service)
        stack.screen.started(service.name, service.url, seconds)
    elif seconds > START_PATIENCE_S:
        raise StepFailed(
            f"{service.name}: no answer from {service.health} after {START_PATIENCE_S:g} s; "
            f"its log is {child.follower.path}",
            details=tail(child.follower.path, num_lines=TAIL_LINES),
        )


def _check_login(stack: Stack, service: Service) -> None:
    """Refuse a password that MLflow does not know: it takes one when its users' database is made, and never again.

    Raises:
        ConfigError: what to do.
    """
    login = stack.secrets.mlflow_login
    if service.name == "mlflow" and service.url and login and not lets_in(service.url, login):
        raise ConfigError(
            f"mlflow: does not take the password in {secrets_folder(stack.home) / 'mlflow'}, which is not the one its users' "
            f"database was made with; bring that file back, or remove {stack_folder(stack.home) / 'mlflow-auth.db'} "
            "to begin with one user"
        )


def _apply_deployments(stack: Stack) -> bool:
    """Make pool, deployments and automations; return whether the user let it finish.

    Raises:
        StepFailed: Prefect refused.
    """
    began = time.monotonic()
    log = stack_folder(stack.home) / "deployments.log"
    log.unlink(missing_ok=True)
    command = python("deployments.stack.prepare", str(stack.prefect_file))
    environment = stack.shared | preparing_environment(stack.secrets)
    process = start(command, environment=environment, log=log, folder=Path.cwd())
    if not _until(stack, lambda: process.poll() is not None):
        return False
    if process.returncode != 0:
        raise StepFailed(
            f"deployments: applying {stack.prefect_file} {describe_exit(process)}; its log is {log}",
            details=tail(log, num_lines=TAIL_LINES),
        )
    stack.screen.started("deployments", str(stack.prefect_file), time.monotonic() - began)
    for line in tail(log, num_lines=_MAX_WARNINGS):
        if line.startswith(WARNING):
            stack.screen.warn(line)
    return True


def watch(stack: Stack, watcher: Watcher) -> None:
    """Show the logs from now on and start again what ends, until the user asks for the end."""
    turn = 0
    for child in stack.children:
        child.follower.skip()
    while not stack.interrupts.wait(_POLL_S):
        with _going_on(stack):
            watcher.ensure()
        for child in stack.children:
            with _going_on(stack):
                _look_after(stack, child, rotate=turn % _ROTATE_EVERY == 0)
        turn += 1


@contextlib.contextmanager
def _going_on(stack: Stack) -> Iterator[None]:
    """Say once what the system refuses, and go on: a full disk is no reason to stop what runs."""
    try:
        yield
    except OSError as error:
        text = f"{error.filename or 'the system'}: {error.strerror or error}"
        if text not in stack.told:
            stack.told.add(text)
            stack.screen.warn(text)


def _look_after(stack: Stack, child: Child, *, rotate: bool) -> None:
    stack.screen.log(child.service.name, child.follower.lines())
    if child.process.poll() is not None:
        _revive(stack, child)
    if rotate:
        child.follower.rotate()


def _revive(stack: Stack, child: Child) -> None:
    """Start a service again that ended, and say so.

    Raises:
        StepFailed: it ended too often.
    """
    how = describe_exit(child.process)
    stack.screen.log(child.service.name, child.follower.lines(last=True))
    if stack.interrupts.wait(pause_s(child)):
        return
    if not start_again(child, stack.shared):
        raise crash(child)
    num = len(child.restarts)
    stack.screen.warn(
        f"{child.service.name} {how}; started again ({num} of at most {MAX_RESTARTS} in ten minutes)"
    )
    _write(stack)


def _write(stack: Stack) -> None:
    write_state(_state(stack), stack.home)


def _state(stack: Stack) -> StackState:
    addresses = {service.name: service.url for service in stack.services}
    return StackState(
        token=stack.token,
        supervisor=identify(os.getpid()),
        prefect_url=addresses["prefect"] or "",
        mlflow_url=addresses["mlflow"] or "",
        webhook_url=addresses.get("webhook"),
        auth=stack.options.auth,
        is_ready=stack.is_ready,
        services=tuple(child.state() for child in stack.children),
    )
