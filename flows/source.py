"""The commit a run is made of: that of the folder its configuration lies in, held against the one that was pushed."""

from __future__ import annotations

import os
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows.check import Checked
from flows.load import CONFIGS
from flows.pushed import check_pushed
from pt_core.environment import SOURCE_VARIABLE, describe_environment

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


def tag_flow_run() -> None:
    """Put the commit among the tags of the flow run, by which Prefect's pages filter; what is more than it has another."""
    source = describe_environment()
    dirty = "-dirty" if source.git_dirty else ""
    tag = f"commit:{source.git_commit[:_SHORT]}{dirty}" if source.git_commit else None
    known = set(flow_run.tags or ())
    if tag and tag not in known:
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, tags=sorted({*known, tag}))
