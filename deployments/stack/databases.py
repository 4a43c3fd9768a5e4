"""Addresses of databases: the plain form that a user gives becomes the one that each server takes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from urllib.parse import urlsplit

from pt_core.errors import ConfigError, StepUnavailable

_DRIVERS = {"prefect": "asyncpg", "mlflow": "psycopg2"}
"""What each server talks to PostgreSQL with; Prefect takes no other, and it is MLflow's own default."""


def database_url(server: str, url: str | None, *, sqlite: Path) -> str:
    """Return the address with its driver; the SQLite file where none was given.

    Args:
        server: prefect or mlflow.
        url: postgresql://user:password@host:port/database, with or without a driver.
        sqlite: the file to use otherwise.

    Raises:
        ConfigError: the address is of another kind; its text is not repeated, since it may hold a password.
        StepUnavailable: the driver is not installed.
    """
    if url is None:
        return f"sqlite{'+aiosqlite' if server == 'prefect' else ''}:///{sqlite}"
    driver = _DRIVERS[server]
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgresql", "postgres", f"postgresql+{driver}"):
        found = scheme if separator else "no scheme"
        raise ConfigError(
            f"--{server}-database: {found}: expected postgresql://user:password@host:port/database, "
            f"to which the driver {driver} is added"
        )
    _check_parts(server, f"postgresql://{rest}")
    if importlib.util.find_spec(driver) is None:
        raise StepUnavailable(
            f"--{server}-database: PostgreSQL needs {driver}, which is not installed: pip install 'pt-pipeline[postgres]'"
        )
    return f"postgresql+{driver}://{rest}"


def _check_parts(server: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        complete = bool(parts.hostname or "host=" in parts.query) and len(parts.path) > 1 and parts.port != 0
    except ValueError:  # a port that is no number; its message repeats the address
        complete = False
    if not complete:
        raise ConfigError(
            f"--{server}-database: host, port or name of the database is missing or wrong; expected "
            "postgresql://user:password@host:port/database, with special characters of the password as %XX"
        )
