"""What a command sets up before it runs a flow: servers asked, Prefect quiet, and a name for the run."""

from __future__ import annotations

import os
import secrets
import signal
from datetime import UTC, datetime

from flows.cli.output import messages
from flows.home import Home


def begin(pipeline: str, home: Home, *, mlflow_may_be_away: bool = False) -> str:
    """Set this process up for one flow run and return its name; call before Prefect is imported.

    Args:
        pipeline: what the name begins with.
        home: the home folder.
        mlflow_may_be_away: whether the flow reads nothing from MLflow that it cannot wait for.

    Raises:
        ConfigError: a server that was asked for does not answer.
    """
    from flows.servers import check_servers

    check_servers(home, mlflow_may_be_away=mlflow_may_be_away)
    # Prefect logs a traceback for every failed task; on a terminal the failure is said in one line instead.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    # By default SIGTERM ends a process at once, and Prefect's temporary server would live on.
    signal.signal(signal.SIGTERM, _leave)
    name = f"{pipeline}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    messages.print(f"[bold]{name}[/]  [dim]home {home.root}[/]")
    return name


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
