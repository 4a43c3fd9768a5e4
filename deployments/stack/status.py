"""pt-pipeline status: what of a stack runs, what it takes, and where it is."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import psutil
import typer
from rich.markup import escape
from rich.table import Table

from deployments.stack.health import ask
from deployments.stack.places import links
from deployments.stack.processes import members
from flows.cli.output import messages, print_json, print_line, results
from flows.home import Home
from flows.stack_state import ServiceState, StackState, running_stack
from pt_core.record import Record


class ServiceStatus(Record):
    """How one service is."""

    name: str
    """prefect, mlflow, worker or webhook."""
    is_up: bool
    """Whether its process runs and, if it is a server, answers."""
    pid: int
    """Its process."""
    seconds_up: float | None
    """How long its process has been running; ``None`` if it does not."""
    num_restarts: int
    """How often it was started again after it had ended by itself."""
    url: str | None
    """Where it answers; ``None`` for the worker."""
    log: str
    """File with all that it printed."""


class StackStatus(Record):
    """How the stack of a home is."""

    home: str
    """The home folder."""
    is_up: bool
    """Whether all of it is up and ready."""
    auth: bool
    """Whether both servers ask for a password."""
    memory_bytes: int
    """What its processes take, shared pages counted in parts, flow runs included."""
    links: dict[str, str]
    """The pages, by what they show."""
    services: tuple[ServiceStatus, ...]
    """In the order of their start."""


def status(home: Home, *, as_json: bool) -> None:
    """Print how the stack of this home is.

    Raises:
        typer.Exit: 1 if there is none, or if not all of it is up.
    """
    state = running_stack(Path(home.root))
    found = (
        StackStatus(home=home.root, is_up=False, auth=False, memory_bytes=0, links={}, services=())
        if state is None
        else look(state, home)
    )
    if as_json:
        print_json(found.model_dump(mode="json"))
    elif state is None:
        messages.print(f"no stack is up in {home.root}; start one by pt-pipeline up", soft_wrap=True)
    else:
        _show(found)
    if not found.is_up:
        raise typer.Exit(1)


def look(state: StackState, home: Home) -> StackStatus:
    """Return how a stack is, each server asked."""
    services = tuple(_look_at(service) for service in state.services)
    return StackStatus(
        home=home.root,
        is_up=state.is_ready and all(service.is_up for service in services),
        auth=state.auth,
        memory_bytes=memory_bytes(state),
        links={link.name: link.url for link in links(state)},
        services=services,
    )


def memory_bytes(state: StackState) -> int:
    """Return what all processes of a stack take, the shared pages of several counted once in sum."""
    total, found = 0, list(members(state.token))
    # It may have ended since its state was read, by the pt-pipeline down in another terminal.
    with contextlib.suppress(psutil.Error):
        found.append(psutil.Process(state.supervisor.pid))
    for process in found:
        try:
            info = process.memory_full_info()
        except psutil.Error:
            continue
        total += getattr(info, "pss", info.rss)
    return total


def _look_at(service: ServiceState) -> ServiceStatus:
    runs = service.process.is_alive()
    health = {"prefect": "/api/health"}.get(service.name, "/health")
    answers = service.url is None or ask(f"{service.url}{health}") is not None
    return ServiceStatus(
        name=service.name,
        is_up=runs and answers,
        pid=service.process.pid,
        seconds_up=round(time.time() - service.process.started, 1) if runs else None,
        num_restarts=service.num_restarts,
        url=service.url,
        log=service.log,
    )


def _show(found: StackStatus) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("service", "state", "pid", "up", "restarts", "log"):
        table.add_column(column, overflow="fold")
    for service in found.services:
        table.add_row(
            service.name,
            "[green]up[/]" if service.is_up else "[red]down[/]",
            str(service.pid),
            "-" if service.seconds_up is None else _duration(service.seconds_up),
            str(service.num_restarts),
            escape(service.log),
        )
    results.print(table)
    print_line("memory", f"{found.memory_bytes / 2**20:.0f} MiB")
    for name, url in found.links.items():
        print_line(name, url)


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.0f} s"
