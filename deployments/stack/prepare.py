"""Make Prefect know the work pool, the deployments and the automations; run as a process, since it needs all of Prefect."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deployments.stack.services import WORK_POOL
from pt_core.errors import ConfigError

WARNING = "warning: "
"""How a line begins that the user is shown."""


def prepare(prefect_file: Path) -> int:
    """Create what is missing and apply what changed; return the exit code of ``prefect deploy``.

    Runs will work in the current folder, so that a configuration is named by its path in there.
    """
    _ensure_work_pool()
    code = _deploy(prefect_file)
    if code == 0:
        _apply_automations()
    return code


def _deploy(prefect_file: Path) -> int:
    """Run ``prefect --no-prompt deploy --all`` in this process: another one would take seconds to import Prefect again."""
    from prefect.cli import app

    sys.argv = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file)]
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _apply_automations() -> None:
    """Make the automations; a file of the user's own may lack what they start, which is no reason to have no stack."""
    from deployments.automations import apply_automations

    try:
        names = apply_automations()
    except ConfigError as error:
        sys.stdout.write(f"{WARNING}automations: {error.message}\n")
        return
    for name in names:
        sys.stdout.write(f"automation {name}\n")


def _ensure_work_pool() -> None:
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    pool = WorkPoolCreate(
        name=WORK_POOL, type="process", base_job_template=ProcessWorker.get_default_base_job_template()
    )
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:
            sys.stdout.write(f"work pool {WORK_POOL} is there\n")


if __name__ == "__main__":
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    sys.exit(prepare(Path(sys.argv[1])))
