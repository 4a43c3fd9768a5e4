"""Whether this home can sign what it makes, asked before any work rests on it."""

from __future__ import annotations

import logging
from pathlib import Path

from flows.home import Home
from pt_core.keys import TRUSTED_KEYS_VARIABLE, ensure_signing_key, trusted_keys

logger = logging.getLogger(__name__)


def check_keys(home: Home) -> None:
    """Make the home's key at first use, or check the team's.

    Raises:
        ConfigError: the signing key cannot be used, or one of the trusted keys is none.
    """
    own = ensure_signing_key(home.keys)
    if own not in trusted_keys(Path(home.keys.trusted)):
        logger.warning(
            "%s does not hold the signing key %s: programs built here are taken from no cache and load by name only; "
            "add its public half, or unset %s",
            home.keys.trusted,
            own[:16],
            TRUSTED_KEYS_VARIABLE,
        )
