"""pt-pipeline up: a first version."""

from __future__ import annotations

from deployments.stack.options import StackOptions
from pt_core.errors import StepUnavailable


def up(options: StackOptions, *, detach: bool) -> None:
    """Run the command."""
    raise StepUnavailable("up: is being written")
