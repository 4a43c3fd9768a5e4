"""What Prefect knows of flow runs that MLflow has as open, and how it is told that one of them is dead."""

from __future__ import annotations

import os
from collections.abc import Iterable
from uuid import UUID

_ENDED_BADLY = ("CRASHED", "FAILED", "CANCELLED")


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


def mark_crashed(flow_run_id: str | None) -> None:
    """Tell Prefect that the process of a flow run is gone; a run that has ended, or that it does not know, stays as it is."""
    if flow_run_id is None or not _is_id(flow_run_id) or not _has_server():
        return
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        try:
            client.set_flow_run_state(UUID(flow_run_id), Crashed(message="its process is gone"))
        except ObjectNotFound:
            return


def _has_server() -> bool:
    """Return whether there is a lasting server; a temporary one would be started only to know nothing."""
    return bool(os.environ.get("PREFECT_API_URL"))


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
