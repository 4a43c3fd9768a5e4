"""The file of deployments that a stack applies: the product's own, or one of the user's that is checked first."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import deployments
from deployments.stack.services import inherited, python
from pt_core.errors import ConfigError, StepFailed, error_from_dict


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


def unused_prefect_file(chosen: Path) -> Path | None:
    """Return the file of deployments in the working directory that is not the chosen one, if there is one."""
    here = Path("prefect.yaml")
    return here if here.is_file() and here.resolve() != chosen else None


def check_prefect_file(path: Path) -> None:
    """Refuse a file in which ``pt-pipeline check-deployments`` finds anything: Prefect would ignore it without a word.

    A process of its own does it, since it needs Prefect and the flows.

    Raises:
        ConfigError: what is wrong, a line each.
        StepFailed: the check itself failed.
    """
    command = python("deployments", "check-deployments", str(path), "--json")
    asked = subprocess.run(command, env=inherited(), capture_output=True, text=True, check=False)
    try:
        said = json.loads(asked.stdout)
    except ValueError:
        raise StepFailed(
            f"--prefect-file: checking {path} ended with exit code {asked.returncode}",
            details=asked.stderr.splitlines(),
        ) from None
    if "error" in said:
        raise error_from_dict(said["error"])
    if said["problems"]:
        raise ConfigError(
            f"--prefect-file: {path} has problems, which Prefect would ignore or find too late:",
            details=[f"line {one['line']}: {one['where']}: {one['problem']}" for one in said["problems"]],
        )
