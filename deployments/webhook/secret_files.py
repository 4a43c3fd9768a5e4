"""The secrets that requests are signed with, from files or the environment."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path

from deployments.webhook_config import Provider, WebhookConfig
from pt_core.errors import ConfigError

SECRET_VARIABLE = "PT_PIPELINE_WEBHOOK_SECRET"  # noqa: S105 - the name of the variable
MIN_BYTES = 16
"""Below this a secret can be guessed from one signed request."""
_STANDARD = ("gitlab-signed", "standard")

Secrets = Mapping[str, tuple[bytes, ...]]
"""The secrets of each repository, by its name: two while one takes the other's place."""


def read_secrets(config: WebhookConfig, *, base: Path, secret_file: Path | None) -> Secrets:
    """Return the secrets of every repository.

    Args:
        config: the repositories.
        base: folder that the paths in the configuration start from.
        secret_file: the file for those without one of their own; PT_PIPELINE_WEBHOOK_SECRET if it is ``None``; both may
            be given if they are the same. A file
            holds one secret, or two on two lines while the Git host is moved from one to the other.

    Raises:
        ConfigError: there is none, two differ, or one is empty, short or not of the form that its provider signs with.
    """
    own = {one.name: base / one.secret_file for one in config.repositories if one.secret_file is not None}
    shared = _shared(secret_file)
    if not shared[1] and (not own or len(own) < len(config.repositories)):
        raise ConfigError(
            f"no webhook secret: give --secret-file FILE or set {SECRET_VARIABLE}; without one anybody could start runs"
        )
    found = {}
    for repository in config.repositories:
        path = own.get(repository.name)
        where, lines = (str(path), _lines(path)) if path else shared
        found[repository.name] = tuple(_decode(line, repository.provider, where) for line in lines)
    return found


def _shared(secret_file: Path | None) -> tuple[str, list[str]]:
    # Taken out of the environment, so that no library or child process of the receiver can show it.
    value = os.environ.pop(SECRET_VARIABLE, "").strip()
    if secret_file and value and value.splitlines() != _lines(secret_file):
        raise ConfigError(
            f"{secret_file} and {SECRET_VARIABLE} hold different webhook secrets; unset {SECRET_VARIABLE}, or leave "
            "--secret-file out"
        )
    where, lines = (
        (str(secret_file), _lines(secret_file)) if secret_file else (SECRET_VARIABLE, value.splitlines())
    )
    for line in lines:
        _long_enough(line.encode(), where)
    return where, lines


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the webhook secret: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the webhook secret is no text") from None
    if not 1 <= len(lines) <= 2:
        raise ConfigError(
            f"{path}: {len(lines)} webhook secrets; expected one, or two lines while it is changed"
        )
    return lines


def _decode(line: str, provider: Provider, where: str) -> bytes:
    if provider not in _STANDARD:
        return _long_enough(line.encode(), where)
    before, _, encoded = line.partition("whsec_")
    try:
        secret = b"" if before else base64.b64decode(encoded, validate=True)
    except ValueError:
        secret = b""
    if not secret:
        raise ConfigError(
            f"{where}: {provider} signs with a secret of the form whsec_<base64>; make one: "
            'echo "whsec_$(openssl rand -base64 32)", and give the same to the sender'
        )
    return _long_enough(secret, where)


def _long_enough(secret: bytes, where: str) -> bytes:
    if len(secret) < MIN_BYTES:
        raise ConfigError(
            f"{where}: the webhook secret has {len(secret)} bytes; expected at least {MIN_BYTES}"
        )
    return secret
