"""The commit a run is made of: that of the folder its configuration lies in, held against the one that was pushed."""

from __future__ import annotations

import os
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows.check import Checked
from flows.load import CONFIGS
from pt_core.environment import SOURCE_VARIABLE, describe_environment, git_state
from pt_core.errors import ConfigError

PUSH_COMMIT_VARIABLE = "PT_PIPELINE_PUSH_COMMIT"
"""Environment variable: the commit that the webhook receiver started this run for."""
_SHORT = 12


def enter_source(checked: Checked) -> None:
    """Make the folder of the configuration the one whose commit every record of this run names.

    A shipped configuration says nothing of the user's code, so that the working directory stays that folder.

    Raises:
        ConfigError: the checkout is not the commit that was pushed, or holds changes.
    """
    folder = Path.cwd() if checked.base_dir == CONFIGS else checked.base_dir
    check_pushed(folder)
    os.environ[SOURCE_VARIABLE] = str(folder)


def check_pushed(folder: Path) -> None:
    """Refuse a checkout that is not the commit that was pushed; without such a commit there is nothing to check.

    Raises:
        ConfigError: which commit it is, or that files were changed or added.
    """
    pushed = os.environ.get(PUSH_COMMIT_VARIABLE)
    if not pushed:
        return
    found, changed = git_state(folder)
    if found != pushed:
        raise ConfigError(
            f"{folder}: at commit {found or 'none, it is no Git checkout'}, expected the pushed {pushed}; a run of a "
            "push takes its configuration from the repository that was pushed, as a path inside it"
        )
    if changed:
        raise ConfigError(
            f"{folder}: at commit {pushed}, but tracked files were changed since, or Python files added; expected a clean checkout"
        )


def tag_flow_run() -> None:
    """Put the commit among the tags of the flow run, by which Prefect's pages filter; what is more than it has another."""
    source = describe_environment()
    dirty = "-dirty" if source.git_dirty else ""
    tag = f"commit:{source.git_commit[:_SHORT]}{dirty}" if source.git_commit else None
    known = set(flow_run.tags or ())
    if tag and tag not in known:
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, tags=sorted({*known, tag}))
