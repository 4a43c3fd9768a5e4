"""The entrypoint of a deployment: a flow that imports."""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.exceptions import MissingFlowError
from prefect.flows import load_flow_from_entrypoint

from deployments.checking.problem import Path, Problem


def load_flow(path: Path, entrypoint: object) -> Flow[..., Any] | Problem:
    """Return the flow that a deployment runs, or why there is none."""
    if not isinstance(entrypoint, str) or not entrypoint.strip(".").count("."):
        return Problem(path=path, text=f"{entrypoint!r}: expected package.module.flow")
    try:
        # Without this Prefect reads the source and goes on where the import fails.
        return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    except MissingFlowError as error:
        return Problem(path=path, text=f"{entrypoint}: {str(error).strip()}")
    except Exception as error:  # noqa: BLE001 - whatever a module raises when it is imported
        cause = error.__cause__ or error
        return Problem(
            path=path, text=f"{entrypoint}: does not import: {type(cause).__name__}: {cause}"[:500]
        )
