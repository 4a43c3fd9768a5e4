"""What a user is told of a stack: the pages, and where logs and secrets lie."""

from __future__ import annotations

from pathlib import Path

from flows.stack_state import StackState, secrets_folder, stack_folder
from pt_core.decision.result import Link


def links(state: StackState) -> tuple[Link, ...]:
    """Return the addresses to open; MLflow's says that it is about machine learning, or it would open its other half."""
    found = [
        Link(name="Prefect, deployments", url=f"{state.prefect_url}/v2/deployments"),
        Link(name="Prefect, runs", url=f"{state.prefect_url}/v2/runs"),
        Link(
            name="MLflow, comparisons",
            url=f"{state.mlflow_url}/#/experiments?workflowType=machine_learning",
        ),
    ]
    if state.webhook_url:
        found.append(Link(name="Webhooks, sent to", url=f"{state.webhook_url}/hooks/<repository>"))
    return tuple(found)


def folders(state: StackState, home: Path) -> dict[str, str]:
    """Return where things lie on this machine, by what they are."""
    found = {"Logs": str(stack_folder(home))}
    if state.webhook_url:
        found["Webhooks, settings"] = str(home / "webhook.yaml")
    if state.auth or state.webhook_url:
        names = [*(["prefect", "mlflow"] if state.auth else []), *(["webhook"] if state.webhook_url else [])]
        found["Secrets"] = f"{secrets_folder(home)} ({', '.join(names)})"
    return found
