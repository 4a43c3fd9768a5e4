"""Passwords of the local stack: made once, kept in the home's secrets, one a file that only its owner reads."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from deployments.webhook.secret_files import SECRET_VARIABLE
from flows.stack_state import secrets_folder
from pt_core.errors import ConfigError
from pt_core.files import write_bytes_atomically

USER = "admin"
_NUM_BYTES = 24


def ensure_login(home: Path, name: str) -> tuple[str, str]:
    """Return user and password of a server, made up and kept if there is none.

    Raises:
        ConfigError: the file is no user:password.
    """
    path = _ensure(home, name, f"{USER}:{secrets.token_urlsafe(_NUM_BYTES)}")
    user, colon, password = path.read_text().strip().partition(":")
    if not (user and colon and password):
        raise ConfigError(
            f"{path}: expected user:password in one line; mend it, or remove it to have a new one made"
        )
    return user, password


def ensure_webhook_secret(home: Path) -> Path:
    """Return the file with the secret that signs webhooks, made up, in the form that every provider takes, if there is none.

    Raises:
        ConfigError: the environment holds another one, which the receiver would not take.
    """
    path = secrets_folder(home) / "webhook"
    chosen = os.environ.get(SECRET_VARIABLE, "").strip()
    if chosen and not (path.exists() and path.read_text().strip() == chosen):
        raise ConfigError(
            f"{SECRET_VARIABLE}: the stack's receiver reads {path}, which holds another secret or none; "
            "put yours into that file, readable by you alone, or unset the variable"
        )
    made = base64.b64encode(secrets.token_bytes(_NUM_BYTES)).decode()
    return _ensure(home, "webhook", f"whsec_{made}")


def _ensure(home: Path, name: str, content: str) -> Path:
    folder = secrets_folder(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    if not path.exists():
        write_bytes_atomically(path, f"{content}\n".encode(), mode=0o600)
    return path
