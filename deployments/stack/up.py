"""pt-pipeline up: one stack in one home, from the checks before it to the end."""

from __future__ import annotations

import ipaddress
import secrets
from pathlib import Path

from deployments.stack.interrupts import Interrupts
from deployments.stack.options import StackOptions
from deployments.stack.ports import check_ports
from deployments.stack.prefect_file import check_prefect_file, find_prefect_file, unused_prefect_file
from deployments.stack.processes import sweep
from deployments.stack.screen import Screen
from deployments.stack.services import plan
from deployments.stack.settings import gather
from deployments.stack.state_file import forget_state, only_stack
from deployments.stack.supervise import Stack, run_stack
from flows.stack_state import read_stack


def up(options: StackOptions, *, screen: Screen) -> None:
    """Run the stack until Ctrl-C or SIGTERM.

    Raises:
        ConfigError: a stack is up here already, or what ``up_held`` refuses.
        StepUnavailable: a driver is missing.
        StepFailed: a service ended, or did not get ready.
    """
    with only_stack(Path(options.home)):
        up_held(options, screen=screen)


def up_held(options: StackOptions, *, screen: Screen) -> None:
    """Run the stack in a home whose lock this process has already.

    Raises:
        ConfigError: a port is taken, an address or a file is wrong.
        StepUnavailable: a driver is missing.
        StepFailed: a service ended, or did not get ready.
    """
    home, interrupts = Path(options.home), Interrupts()
    _sweep_left_over(home, screen)
    prefect_file = find_prefect_file(options.prefect_file)
    chosen = gather(options)
    services = plan(options, chosen)
    check_ports(services, options.host)
    if options.prefect_file:
        with screen.waiting("the check of the deployments"):
            check_prefect_file(prefect_file)
    elif unused := unused_prefect_file(prefect_file):
        screen.warn(f"{unused} here is not used; --prefect-file {unused} takes it")
    warn_of_open_door(options, screen)
    interrupts.listen()
    try:
        run_stack(Stack(options, chosen, services, prefect_file, secrets.token_hex(16), interrupts, screen))
    finally:
        forget_state(home)


def _sweep_left_over(home: Path, screen: Screen) -> None:
    """Kill what is left of a stack whose ``up`` was killed together with its watcher."""
    left = read_stack(home)
    killed = sweep(left.token) if left is not None else 0
    if killed:
        screen.warn(f"{killed} processes of a stack that was killed were still there, and have been killed")
    forget_state(home)


def warn_of_open_door(options: StackOptions, screen: Screen) -> None:
    """Say what it means to listen beyond this machine: a worker runs what it is told to, and nothing is encrypted."""
    try:
        is_loopback = ipaddress.ip_address(options.host).is_loopback
    except ValueError:
        is_loopback = options.host == "localhost"
    if is_loopback:
        return
    if options.auth:
        screen.warn(
            f"--host {options.host} with --auth: passwords and models cross the network in plain HTTP, for whoever is on the "
            "way to read; put a reverse proxy with TLS before loopback instead"
        )
    else:
        screen.warn(
            f"--host {options.host} without --auth: whoever reaches this machine can start runs and change models"
        )
