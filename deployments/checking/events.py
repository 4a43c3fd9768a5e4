"""The events that a trigger can wait for: Prefect's own, by their names, and ours."""

from __future__ import annotations

import difflib
from typing import get_args

from flows.retrain import NOTHING_TO_DO
from tasks.events import EventName

_STATES = [
    "Scheduled",
    "Late",
    "Resuming",
    "AwaitingRetry",
    "AwaitingConcurrencySlot",
    "Retrying",
    "Pending",
    "Submitting",
    "InfrastructurePending",
    "Running",
    "Paused",
    "Suspended",
    "Cancelling",
    "Cancelled",
    "Completed",
    "Cached",
    "RolledBack",
    "Failed",
    "Crashed",
    "TimedOut",
    "heartbeat",
]

KNOWN = (
    *get_args(EventName),
    f"prefect.flow-run.{NOTHING_TO_DO}",
    *(f"prefect.{run}.{state}" for run in ("flow-run", "task-run") for state in _STATES),
    "prefect.artifact.created",
    "prefect.artifact.updated",
    "prefect.asset.materialization.succeeded",
    "prefect.asset.materialization.failed",
    "prefect.asset.referenced",
    "prefect.automation.created",
    "prefect.automation.updated",
    "prefect.automation.deleted",
    "prefect.automation.triggered",
    "prefect.automation.action.triggered",
    "prefect.automation.action.executed",
    "prefect.automation.action.failed",
    "prefect.deployment.created",
    "prefect.deployment.updated",
    "prefect.deployment.deleted",
    "prefect.deployment.ready",
    "prefect.deployment.not-ready",
    "prefect.log.write",
    "prefect.runner.cancelled-flow-run",
    "prefect.workspace.transfer.started",
    "prefect.workspace.transfer.completed",
    "prefect.work-pool.created",
    "prefect.work-pool.updated",
    "prefect.work-pool.deleted",
    "prefect.work-pool.ready",
    "prefect.work-pool.not-ready",
    "prefect.work-pool.paused",
    "prefect.work-queue.created",
    "prefect.work-queue.updated",
    "prefect.work-queue.deleted",
    "prefect.work-queue.ready",
    "prefect.work-queue.not-ready",
    "prefect.work-queue.paused",
    "prefect.worker.started",
    "prefect.worker.stopped",
    "prefect.worker.submitted-flow-run",
    "prefect.worker.executed-flow-run",
)
"""Every event by its whole name; a state of the user's own gives others below prefect.flow-run."""

LABELS = (
    "prefect.resource.id",
    "prefect.resource.name",
    "prefect.resource.role",
    "prefect.resource.lineage-group",
    "prefect.state-type",
    "prefect.state-name",
    "prefect.state-message",
    "prefect.state-timestamp",
    "prefect.state.type",
    "prefect.state.name",
    "prefect.state.message",
    "prefect.run-count",
    "prefect.name",
    "prefect.type",
    "prefect.tag",
    "prefect.flow.name",
    "prefect.deployment.name",
    "prefect.work-pool.name",
    "prefect.work-pool.type",
    "prefect.worker.name",
    "prefect.worker.type",
    "prefect.posture",
)
"""What Prefect says of the resources of its events."""

_OWN = ("prefect.", "pt-pipeline.")
_NEAR = 0.8


def event_problem(name: object) -> str | None:
    """Return why a trigger that expects this event would not fire, or would for everything; ``None`` if neither."""
    if not isinstance(name, str) or not name.strip():
        return f"{name!r}: expected the name of an event"
    stem = name.rstrip("*")
    if not stem.rstrip("."):
        return f"{name!r} fires on every event; expected a prefix before the star, such as prefect.flow-run.*"
    if name != stem:
        fits = any(known.startswith(stem) for known in KNOWN)
        return None if fits or not _looks_own(stem) else f"{name!r}: no event begins so; {_hint(stem)}"
    if name in KNOWN or not _looks_own(name):
        return None
    return f"{name!r}: no such event; {_hint(name)}"


def label_problem(name: str) -> str | None:
    """Return why no resource has a label, ``None`` if one may."""
    near = difflib.get_close_matches(name, LABELS, n=1, cutoff=_NEAR)
    if name in LABELS or not (near or name.startswith("prefect.")):
        return None
    return f"no resource has such a label; {_closest(name, LABELS)}"


def _looks_own(name: str) -> bool:
    """Return whether a name is, or is meant to be, one of Prefect's or ours; any other is of the user's own programs."""
    return name.startswith(_OWN) or bool(difflib.get_close_matches(name, KNOWN, n=1, cutoff=_NEAR))


def _hint(name: str) -> str:
    return _closest(name, KNOWN)


def _closest(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else "see the events page for what there is"
