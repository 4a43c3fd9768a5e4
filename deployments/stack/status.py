"""pt-pipeline status: a first version."""

from __future__ import annotations

from flows.home import Home
from pt_core.errors import StepUnavailable


def status(home: Home, *, as_json: bool) -> None:
    """Run the command."""
    raise StepUnavailable("status: is being written")
