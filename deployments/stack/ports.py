"""Whether the ports of a plan are free, and who has the one that is not."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence

import psutil

from deployments.stack.services import Service
from pt_core.errors import ConfigError


def check_ports(services: Sequence[Service], host: str) -> None:
    """Refuse a plan whose ports are not all free, before any of it is started.

    Raises:
        ConfigError: which port, who has it, and the option that chooses another.
    """
    chosen: dict[int, Service] = {}
    for service in services:
        if service.port is None:
            continue
        other = chosen.setdefault(service.port, service)
        if other is not service:
            raise ConfigError(
                f"port {service.port} was given to {other.name} and to {service.name}; "
                f"choose another by --{service.name}-port"
            )
        problem = _taken(host, service.port)
        if problem:
            raise ConfigError(
                f"{service.name}: port {service.port} on {host} {problem}; "
                f"choose another by --{service.name}-port"
            )


def _taken(host: str, port: int) -> str | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the servers do: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError:
        return "is not allowed to this user"
    except socket.gaierror:
        raise ConfigError(f"--host {host}: is no address of this machine") from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(f"--host {host}: is no address of this machine") from None
        owner = _owner(port)
        return f"is in use{owner}" if owner or _listens(port) else f"cannot be listened on: {error.strerror}"
    return None


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _owner(port: int) -> str:
    """Return which process listens on a port, as a clause; empty where the system does not tell."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            taken = connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,)
            if taken and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
