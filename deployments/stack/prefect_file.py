"""Where the product's prefect.yaml lies: it comes with the package, so that it is found from every folder."""

from __future__ import annotations

from pathlib import Path

import deployments
from pt_core.errors import ConfigError


def find_prefect_file(chosen: str | None) -> Path:
    """Return the file of deployments: the chosen one, or the product's own.

    Raises:
        ConfigError: it is not there.
    """
    # In a checkout it is a link to the one at the top.
    path = Path(chosen) if chosen else Path(deployments.__file__).parent / "prefect.yaml"
    if not path.is_file():
        raise ConfigError(f"--prefect-file: {path} is no file; name the one with your deployments")
    return path.resolve()
