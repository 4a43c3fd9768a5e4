"""What a flow says of itself: the name of its folder, the tags of its MLflow run, its page."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

from prefect.runtime import flow_run

from pt_core.decision.result import Link
from pt_core.environment import describe_environment
from tasks.dashboard import without_secrets


def run_name() -> str:
    """Return the flow run's name as a folder's, with the start of its id since people reuse names."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", str(flow_run.name)).strip("-.")
    return f"{readable}-{str(flow_run.id)[:8]}".lstrip("-")


def tags(config: str) -> dict[str, str]:
    """Return what the MLflow run of this flow run is found by."""
    source = describe_environment()
    commit = source.git_commit or "unknown"
    dirty = "unknown" if source.git_dirty is None else str(source.git_dirty).lower()
    # The first is the one that MLflow's own pages show.
    named = {"mlflow.source.git.commit": commit, "git_commit": commit, "git_dirty": dirty}
    return {**named, "prefect_flow_run_id": str(flow_run.id), "config": config}


def prefect_link() -> tuple[Link, ...]:
    """Return the page of the flow run; a run on its own temporary server has none."""
    address = os.environ.get("PREFECT_UI_URL") or os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
    url = f"{without_secrets(address)}/v2/runs/flow-run/{flow_run.id}"
    return (Link(name="Prefect flow run", url=url),) if address else ()


def command(name: str, config: str, overrides: Sequence[str], *options: str) -> str:
    """Return the command that does this run again."""
    settings = [f"--set {shlex.quote(override)}" for override in overrides]
    return " ".join(["pt-pipeline", name, shlex.quote(config), *options, *settings])
