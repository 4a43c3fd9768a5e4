"""What Prefect knows of flow runs that MLflow has as open, and how it is told that one of them is dead."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

TAG = "pt-pipeline"
"""What every deployment of prefect.yaml is tagged with, and so every run of it."""
_ENDED_BADLY = ("CRASHED", "FAILED", "CANCELLED")
_AT_WORK = ("RUNNING", "CANCELLING", "PENDING")


def ended_badly(flow_run_ids: Iterable[str]) -> frozenset[str]:
    """Return those of some flow runs that Prefect has as crashed, failed or cancelled; none without a server."""
    chosen = [UUID(one) for one in set(flow_run_ids) if _is_id(one)]
    if not chosen or not _has_server():
        return frozenset()
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=chosen)))
    return frozenset(str(run.id) for run in found if run.state_type and run.state_type.value in _ENDED_BADLY)


def at_work() -> tuple[str, ...]:
    """Return the flow runs that Prefect has as at work, the latest 200; none without a server."""
    if not _has_server():
        return ()
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    states = FlowRunFilterStateType(any_=[StateType(name) for name in _AT_WORK])
    chosen = FlowRunFilter(state=FlowRunFilterState(type=states))
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=chosen, sort=FlowRunSort.START_TIME_DESC, limit=200)
    return tuple(str(run.id) for run in found)


def mark_crashed(flow_run_id: str | None, *, started_ms: int) -> bool:
    """Tell Prefect that the process of a flow run is gone, and return whether it did not know.

    A flow run that was started again has a later state than what the dead process began: it lives, and stays as it is.

    Args:
        flow_run_id: the flow run; one that Prefect does not know is left alone.
        started_ms: when the dead process started its run in MLflow, in milliseconds since 1970.
    """
    run = _read(flow_run_id)
    if run is None or run.state is None or run.state.type.value not in _AT_WORK:
        return False
    if run.state.timestamp.timestamp() * 1000 > started_ms:
        return False
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Crashed(message="its process is gone"))
    return True


def is_told_of(flow_run_id: str | None) -> bool:
    """Return whether an automation tells of the crash of a flow run: it does of those that are deployed."""
    run = _read(flow_run_id)
    return run is not None and TAG in run.tags


def _read(flow_run_id: str | None) -> FlowRun | None:
    if flow_run_id is None or not _is_id(flow_run_id) or not _has_server():
        return None
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            return client.read_flow_run(UUID(flow_run_id))
        except ObjectNotFound:
            return None


def _has_server() -> bool:
    """Return whether there is a lasting server; a temporary one would be started only to know nothing."""
    return bool(os.environ.get("PREFECT_API_URL"))


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
