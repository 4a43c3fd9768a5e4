"""Whether the servers that the environment names answer, asked before any work rests on them."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from flows.home import Home
from pt_core.errors import ConfigError
from tasks.answering import unreachable as unreachable
from tasks.mlflow_settings import check_uri

_PATIENCE_S = 20.0
"""How long a server may take to say that it is there: one that is away refuses at once, and one that is busy is not away."""


def check_servers(home: Home, *, mlflow_may_be_away: bool = False) -> None:
    """Refuse to start while a server that was asked for does not answer.

    Args:
        home: the home folder.
        mlflow_may_be_away: whether all that is for MLflow waits in an outbox, so that nobody needs it now.

    Raises:
        ConfigError: which one, why, and what to do.
    """
    for variable, address in named_servers(home).items():
        if variable == "MLFLOW_TRACKING_URI" and mlflow_may_be_away:
            check_uri(address)
            continue
        problem = unreachable(address, timeout_s=_PATIENCE_S)
        if problem:
            raise ConfigError(
                f"{variable}: the server at {host(address)} does not answer: {problem}; "
                "start it, or unset the variable to run without a server"
            )


def named_servers(home: Home) -> dict[str, str]:
    """Return the servers to use, by the environment variable that names each."""
    found = {
        "PREFECT_API_URL": os.environ.get("PREFECT_API_URL", ""),
        "MLFLOW_TRACKING_URI": home.tracking_uri,
    }
    return {name: address for name, address in found.items() if address.startswith(("http://", "https://"))}


def host(address: str) -> str:
    """Return host and port of an address, without the password that it may hold."""
    parts = urlsplit(address)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
