"""The automations of the product in Prefect, made or renewed by their names."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture, RunDeployment
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from deployments.heartbeat import SILENCE_S
from deployments.notify import forget_address, notifications
from flows.flow_states import TAG
from pt_core.errors import ConfigError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

MAINTENANCE = "maintenance/maintenance"
START_S = 600
"""How long a run may take from being given to a worker to its first line."""

_RUNS = {"prefect.resource.id": "prefect.flow-run.*"}
_OURS = {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}
_PROCESS_POOL = {"prefect.resource.name": "local", "prefect.resource.role": "work-pool"}
_NOT_MAINTENANCE = {"prefect.resource.name": "!maintenance", "prefect.resource.role": "flow"}


def apply_automations(*, silence_s: float = SILENCE_S, start_s: float = START_S) -> tuple[str, ...]:
    """Make every automation of the product, or bring it up to date; one that a person paused stays paused.

    Args:
        silence_s: how long a run may say nothing before it counts as dead; more than two of its heartbeats.
        start_s: how long a run may take to start.

    Returns:
        Their names.

    Raises:
        ConfigError: the address to notify is none; or the maintenance is not deployed, when all others are made.
    """
    telling = notifications()
    wanted = (_silent_runs(silence_s), _runs_that_never_start(start_s), *telling)
    with get_client(sync_client=True) as client:
        if not telling:
            forget_address(client)
        for automation in wanted:
            _apply(client, automation)
        # Last, since a file of deployments of the user's own may lack it, and the others are good without.
        closing = _close_what_is_left(_maintenance_id(client))
        _apply(client, closing)
    return tuple(automation.name for automation in (*wanted, closing))


def _silent_runs(silence_s: float) -> AutomationCore:
    """A run that said it lives and says no more: its process, and the worker that would have told, are gone."""
    return AutomationCore(
        name=f"{TAG}: crash silent runs",
        description="Marks a run Crashed whose heartbeats stop, which frees its concurrency slot.",
        trigger=EventTrigger(
            match=_RUNS,
            match_related=[_OURS],
            for_each={"prefect.resource.id"},
            # A run that is being cancelled must get somewhere too.
            after={"prefect.flow-run.heartbeat", "prefect.flow-run.Cancelling"},
            # Any news, since states have names of their own: a run that completed, was suspended or is to be retried.
            expect={"prefect.flow-run.*"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silence_s),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"no heartbeat for {silence_s:g} s: its process and its worker are gone",
            )
        ],
    )


def _runs_that_never_start(start_s: float) -> AutomationCore:
    """A run whose worker died between taking it and starting its process, which sends no heartbeat to miss."""
    return AutomationCore(
        name=f"{TAG}: crash runs that never start",
        description="Marks a run Crashed that a worker of the pool local took and did not start.",
        trigger=EventTrigger(
            match=_RUNS,
            match_related=[_OURS, _PROCESS_POOL],
            for_each={"prefect.resource.id"},
            # A worker sets both before it starts anything; Submitting alone would be news, which ends the wait for ever.
            after={"prefect.flow-run.Pending", "prefect.flow-run.Submitting"},
            expect={"prefect.flow-run.*"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=start_s),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, message=f"not started within {start_s:g} s: its worker is gone"
            )
        ],
    )


def _close_what_is_left(maintenance_id: UUID) -> AutomationCore:
    """A crashed run leaves an open run in MLflow and perhaps a promotion: a worker closes both as soon as there is one."""
    return AutomationCore(
        name=f"{TAG}: close what a crashed run left",
        description="Starts the maintenance, without removing anything, when a run crashed.",
        trigger=EventTrigger(
            match=_RUNS,
            # Without the second, a maintenance that crashes would start the next one for ever.
            match_related=[_OURS, _NOT_MAINTENANCE],
            expect={"prefect.flow-run.Crashed"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[RunDeployment(deployment_id=maintenance_id, parameters={"remove": False})],
    )


def _maintenance_id(client: SyncPrefectClient) -> UUID:
    try:
        return client.read_deployment_by_name(MAINTENANCE).id
    except ObjectNotFound as error:
        raise ConfigError(
            f"{MAINTENANCE}: is not deployed; deploy first: prefect --no-prompt deploy --all"
        ) from error


def _apply(client: SyncPrefectClient, automation: AutomationCore) -> None:
    known = client.read_automations_by_name(automation.name)
    if not known:
        client.create_automation(automation)
        return
    first, *twins = known
    kept = automation.model_copy(update={"enabled": first.enabled})
    # Made anew where nothing changed, it would forget which runs it is watching.
    if _content(first) != _content(kept):
        client.update_automation(first.id, kept)
    for twin in twins:
        client.delete_automation(twin.id)


def _content(automation: AutomationCore) -> dict[str, object]:
    fields = set(AutomationCore.model_fields)
    return AutomationCore.model_validate(automation.model_dump(include=fields)).model_dump(mode="json")
