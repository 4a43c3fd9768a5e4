"""pt-pipeline down: a first version."""

from __future__ import annotations

from flows.home import Home
from pt_core.errors import StepUnavailable


def down(home: Home) -> None:
    """Run the command."""
    raise StepUnavailable("down: is being written")
