"""One delivery, one Prefect run: make it, and cancel the older ones of its branch that still wait."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from deployments.webhook.journal import Delivery
from deployments.webhook_config import Repository
from flows.pushed import PUSH_COMMIT_VARIABLE
from pt_core.record import Record

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

PUSH_REPOSITORY = "PT_PIPELINE_PUSH_REPOSITORY"
"""What the pull step of the deployment clones; it checks out the commit of flows.pushed."""

_NOT_BEGUN = frozenset({"SCHEDULED", "PENDING"})
"""Types of the states before the first step; a run that waits to be tried again has them too, with a count of its tries."""
_CANCELLED = frozenset({"CANCELLING", "CANCELLED"})

TIMEOUT_S = 10.0


class NotStarted(Exception):
    """Prefect made no run; the journal says why, in the error's own words."""

    patience_s: ClassVar[float] = 0.0
    """How long after its first try a delivery is tried again on this failure."""


class Unreachable(NotStarted):
    """Prefect does not answer, or answers that it failed itself."""

    patience_s = 86_400.0


class NotReady(NotStarted):
    """Prefect does not know the deployment, or does not let us in: somebody may still be setting it up."""

    patience_s = 600.0


class Refused(NotStarted):
    """Prefect does not accept the run, and never will."""


class Started(Record):
    """A run, and those that made way for it."""

    run_id: str
    """The Prefect flow run."""
    run_name: str
    """Its name."""
    cancelled: tuple[str, ...] = ()
    """Idempotency keys of the runs that were cancelled while queued."""


def start_run(delivery: Delivery, repository: Repository, *, older_keys: Sequence[str]) -> Started:
    """Make the run of a delivery, once however often this is called, and cancel the queued runs of older ones.

    Raises:
        NotStarted: it could not be made; the kind says whether to try again.
    """
    with _named_failures(repository), _client() as client:
        deployment = client.read_deployment_by_name(repository.deployment)
        run = client.create_flow_run_from_deployment(
            deployment.id,
            parameters={"config": repository.config},
            tags=_tags(delivery),
            idempotency_key=delivery.idempotency_key(repository.deployment),
            # Prefect fills in {{ }} here: the address is of our settings, the commit is plain hex.
            job_variables={
                "env": {PUSH_REPOSITORY: repository.clone_url, PUSH_COMMIT_VARIABLE: delivery.commit},
            },
        )
        cancelled = _cancel_older(client, run, delivery, older_keys) if older_keys else ()
    return Started(run_id=str(run.id), run_name=run.name, cancelled=cancelled)


def _tags(delivery: Delivery) -> list[str]:
    return [
        f"commit:{delivery.commit[:12]}",
        f"branch:{delivery.branch}",
        f"repository:{delivery.repository}",
    ]


@contextlib.contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True, httpx_settings={"timeout": TIMEOUT_S}) as client:
        yield client


def _cancel_older(
    client: SyncPrefectClient, run: FlowRun, delivery: Delivery, older_keys: Sequence[str]
) -> tuple[str, ...]:
    """Return the keys of the older runs that never began and now never will, whoever cancelled them."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterIdempotencyKey,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )

    found = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_NOT_BEGUN | _CANCELLED))),
            idempotency_key=FlowRunFilterIdempotencyKey(any_=list(older_keys)),
        )
    )
    message = f"Commit {delivery.commit[:12]} was pushed before this run began; {run.name} takes its place."
    older = [one for one in found if one.run_count == 0 and one.id != run.id]
    return tuple(str(one.idempotency_key) for one in older if _cancelled(client, one, message))


def _cancelled(client: SyncPrefectClient, run: FlowRun, message: str) -> bool:
    """Cancel a run that has not begun; return whether Prefect's answer says that it never will."""
    from prefect.client.schemas.objects import State, StateType
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Cancelled

    if run.state is not None and run.state.type in _CANCELLED:
        return True
    try:
        # Not Cancelled: a process that is on its way to such a run would take it from there to Running.
        answer = client.set_flow_run_state(run.id, State(type=StateType.CANCELLING, message=message)).state
        if answer is not None and answer.type == StateType.CANCELLED:  # at once, and without the message
            client.set_flow_run_state(run.id, Cancelled(message=message))
    except ObjectNotFound:  # somebody deleted it, which is not this delivery's failure
        return False
    return answer is not None and answer.type in _CANCELLED


@contextlib.contextmanager
def _named_failures(repository: Repository) -> Iterator[None]:
    """Turn what Prefect's client raises into what the dispatcher shall do about it."""
    import httpx
    from prefect.exceptions import ObjectNotFound
    from pydantic import ValidationError

    try:
        yield
    except ObjectNotFound as error:
        raise NotReady(
            f"Prefect has no deployment {repository.deployment}; deploy it: prefect --no-prompt deploy --all"
        ) from error
    except httpx.HTTPStatusError as error:
        raise _by_status(error.response.status_code) from error
    except httpx.HTTPError as error:
        raise Unreachable(f"Prefect does not answer: {type(error).__name__}") from error
    except RuntimeError as error:  # the client's look at the server's version
        raise Unreachable(f"Prefect does not answer: {str(error)[:120]}") from error
    except (ValidationError, ValueError) as error:
        raise Unreachable(f"Prefect's answer cannot be read: {type(error).__name__}") from error


def _by_status(status: int) -> NotStarted:
    if status >= 500 or status in (408, 429):
        return Unreachable(f"Prefect answered {status}")
    if status in (401, 403, 404):
        return NotReady(f"Prefect answered {status}; does the receiver have the server's credentials?")
    return Refused(f"Prefect answered {status}: it does not accept the run's parameters or settings")
