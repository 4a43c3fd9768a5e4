"""Whether what went wrong with an entry would go wrong again, or passes."""

from __future__ import annotations

from collections.abc import Container

import requests

from pt_core.errors import ConfigError
from tasks.mlflow_settings import settle
from tasks.outbox_entries import Entry, OpenRun

settle()

from mlflow.exceptions import MlflowException  # noqa: E402

_CREDENTIALS = (401, 403)
_PASSING = (408, 425, 429, *_CREDENTIALS)
_NOT_FOUND = 404


def refusal(error: Exception, entry: Entry, known: Container[str]) -> str | None:
    """Return what was said, where sending the same again can only end the same way; ``None`` where it may help.

    Args:
        error: what went wrong.
        entry: what was sent.
        known: ids of the entries that were taken.
    """
    status = _status(error)
    if status is None:
        if isinstance(error, OSError | ConfigError) and not isinstance(error, FileNotFoundError):
            # A disk that is full, too many open files, or the passphrase of the key that signs is not set here.
            return None
        # A file that is gone, an entry that rests on a refused one, or a fault of ours.
        return f"{type(error).__name__}: {describe(error)}"
    if status == _NOT_FOUND and (entry.parent if isinstance(entry, OpenRun) else entry.run) in known:
        # The run was created, so another database is behind the address for now.
        return None
    return describe(error) if 400 <= status < 500 and status not in _PASSING else None


def is_locked(error: Exception) -> bool:
    """Return whether another process held the database for too long."""
    return isinstance(error, MlflowException) and "locked" in str(error)


def lacks_credentials(error: Exception) -> bool:
    """Return whether the server wants to know who asks."""
    return _status(error) in _CREDENTIALS


def describe(error: Exception) -> str:
    """Return an error in one bounded line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


def _status(error: Exception) -> int | None:
    """Return the HTTP status of a server's answer, one for a server that gave none, or nothing where none was asked."""
    if isinstance(error, MlflowException):
        return int(error.get_http_status_code())
    if isinstance(error, requests.RequestException):
        return error.response.status_code if error.response is not None else 503
    return 503 if isinstance(error, ConnectionError | TimeoutError) else None
