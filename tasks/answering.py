"""Whether a server answers, asked of its health page with little patience."""

from __future__ import annotations

import http.client
import logging
import ssl
import time
import urllib.error
import urllib.request

from pt_core.errors import StepFailed
from tasks.dashboard import without_secrets

logger = logging.getLogger(__name__)

PATIENCE_S = 120.0
"""How long who reads from MLflow waits for a server that is away."""
_POLL_S = 0.5


def unreachable(address: str, *, timeout_s: float = 3.0) -> str | None:
    """Return why a server's health page cannot be had in time, or ``None``."""
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=timeout_s):  # noqa: S310 - the user's own address
            return None
    except (OSError, ValueError) as error:
        return None if _is_guarded(error) else str(getattr(error, "reason", error))


def is_away(address: str) -> str | None:
    """Return why nobody answers at all, or ``None``; a server that refuses, or has no such page, is there."""
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=3):  # noqa: S310 - the user's own address
            return None
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}" if error.code >= 500 else None
    except (OSError, ValueError, http.client.HTTPException) as error:
        return None if _is_guarded(error) else str(getattr(error, "reason", error)) or type(error).__name__


def _is_guarded(error: Exception) -> bool:
    """Return whether somebody is there whose certificate this probe does not know; MLflow's client has its own settings."""
    return isinstance(getattr(error, "reason", error), ssl.SSLError)


def wait_until_there(address: str, *, patience_s: float | None = None) -> None:
    """Wait for a server that is away, for :data:`PATIENCE_S` if left out; said once.

    Raises:
        StepFailed: it was away all that time.
    """
    patience_s = PATIENCE_S if patience_s is None else patience_s
    ends, told = time.monotonic() + patience_s, False
    while problem := is_away(address):
        where = without_secrets(address)
        if time.monotonic() > ends:
            raise StepFailed(
                f"MLflow at {where}: did not answer for {patience_s:g} s: {problem}; start it and try again"
            )
        if not told:
            logger.warning(
                "MLflow at %s does not answer (%s); waiting up to %g s for it", where, problem, patience_s
            )
            told = True
        time.sleep(_POLL_S)
