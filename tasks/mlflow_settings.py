"""What must be set before mlflow is imported, and which addresses of it are taken; imports no mlflow."""

from __future__ import annotations

import logging
import os
from urllib.parse import urlsplit

from pt_core.errors import ConfigError
from tasks.dashboard import without_secrets

# Some are read once, at import. A dead server blocks a call for minutes with mlflow's own defaults.
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # With a server it prints a run's address on standard output, into the document that --json prints.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A bar for every file that is copied, on top of ours.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}

# Where an answer is lost, mlflow sends a request again without looking whether it was done: two runs, two models. What
# is sent again here is looked for first, and who reads waits for the server.
_FIXED = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


def settle() -> None:
    """Set what the user has not set, and what nobody else can decide; call before mlflow is imported."""
    os.environ.update(_FIXED)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def quiet() -> None:
    """Keep mlflow's and its migrations' notices off the terminal, warnings excepted."""
    for name in ("mlflow", "alembic"):
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))


def check_uri(tracking_uri: str) -> None:
    """Refuse an address of another kind, or one that holds a password.

    Raises:
        ConfigError: which, and what to do.
    """
    parts = urlsplit(tracking_uri)
    if parts.scheme not in ("sqlite", "http", "https"):
        raise ConfigError(
            f"tracking_uri: {without_secrets(tracking_uri)}: expected sqlite:////<path>/mlflow.db or http(s)://<host>"
        )
    if "@" in parts.netloc:
        raise ConfigError(
            f"tracking_uri: {without_secrets(tracking_uri)}: a name or password in the address would be "
            "stored with the run; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        )
