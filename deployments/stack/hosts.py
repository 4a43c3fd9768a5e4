"""The names by which a browser or another machine may call a server of the stack."""

from __future__ import annotations

import os
import socket

import psutil

from deployments.foreign_pages import HOSTS_VARIABLE

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on
_HTTP = 80


def allowed_hosts(host: str, port: int) -> tuple[str, ...]:
    """Return the names with the port, as in a request's Host header: this machine's, and those that the user added.

    Args:
        host: address that the server listens on.
        port: its port.
    """
    names = ["127.0.0.1", "localhost", *(_of_this_machine() if host in EVERYWHERE else [host])]
    # A browser leaves the port of plain HTTP out.
    suffix = "" if port == _HTTP else f":{port}"
    own = [f"{f'[{name}]' if ':' in name else name}{suffix}".lower() for name in names]
    added = [name.strip().lower() for name in os.environ.get(HOSTS_VARIABLE, "").split(",")]
    return tuple(dict.fromkeys(name for name in (*own, *added) if name))


def origins(hosts: tuple[str, ...]) -> str:
    """Return the pages that these names serve, as the servers' settings take them."""
    return ",".join(f"{scheme}://{host}" for host in hosts for scheme in ("http", "https"))


def _of_this_machine() -> list[str]:
    """Return its name and addresses; no pattern, since ``10.*`` is also the beginning of somebody's name."""
    families = (socket.AF_INET, socket.AF_INET6)
    found = [one for addresses in psutil.net_if_addrs().values() for one in addresses]
    return [
        socket.gethostname(),
        *(one.address for one in found if one.family in families and "%" not in one.address),
    ]
