"""Addresses of databases: the plain form that a user gives becomes the one that each server takes."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pt_core.errors import ConfigError, StepUnavailable

_TIMEOUT_S = 10
_DRIVERS = {"prefect": "asyncpg", "mlflow": "psycopg2"}
"""What each server talks to PostgreSQL with; Prefect takes no other, and it is MLflow's own default."""
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


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
    if importlib.util.find_spec(driver) is None:
        raise StepUnavailable(
            f"--{server}-database: PostgreSQL needs {driver}, which is not installed: pip install 'pt-pipeline[postgres]'"
        )
    _check_parts(server, f"postgresql://{rest}")
    _check_answer(server, f"postgresql://{rest}")
    return f"postgresql+{driver}://{rest}"


def _check_answer(server: str, url: str) -> None:
    """Refuse a database that does not let us in: MLflow would try for minutes before it says so."""
    if importlib.util.find_spec("psycopg2") is None:
        return
    import psycopg2

    parts = urlsplit(url)
    if not parts.hostname:
        return
    try:
        # What follows the question mark is for the server's own driver.
        psycopg2.connect(parts._replace(query="").geturl(), connect_timeout=_TIMEOUT_S).close()
    except psycopg2.Error as error:
        said = " ".join(str(error).split())
        if any(secret in said for secret in (parts.password, unquote(parts.password or "")) if secret):
            said = f"{type(error).__name__}, whose text repeats the password"
        raise ConfigError(f"--{server}-database: {said}; start the database, or mend the address") from None


def _check_parts(server: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        complete = (
            bool(parts.hostname or "host=" in parts.query)
            and len(parts.path) > 1
            and parts.port != 0
            # Of two, what stands between them is part of the password to one reader and of the host to another.
            and url.count("@") == parts.netloc.count("@") <= 1
            and not _BAD_ESCAPE.search(parts.netloc)
        )
    except ValueError:  # a port that is no number; its message repeats the address
        complete = False
    if not complete:
        raise ConfigError(
            f"--{server}-database: host, port or name of the database is missing or wrong; expected "
            "postgresql://user:password@host:port/database, with special characters of the password as %XX"
        )
