"""Find the runs that stand open in MLflow, of every pipeline, and close one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from pt_core.record import Record
from tasks.alias_lock import Claimant
from tasks.outbox_experiment import OWNER, close_if_open
from tasks.registry import asked

_PARENT = "mlflow.parentRunId"
_FLOW_RUN = "prefect_flow_run_id"
_PAGE = 200


class OpenRun(Record):
    """A run of the product in MLflow, with what is known of its process."""

    run_id: str
    """Its id."""
    name: str
    """Its name."""
    pipeline: str
    """Name of its experiment."""
    parent_id: str | None
    """The pipeline run that it is a variant of; ``None`` for one itself."""
    flow_run_id: str | None
    """Id of its flow run in Prefect."""
    owner_is_dead: bool
    """Whether its process is known to have ended; ``False`` where that ran on another machine."""
    owner_is_alive: bool = False
    """Whether its process is known to be at work; ``False`` where that runs on another machine."""
    started_ms: int = 0
    """When it was started, in milliseconds since 1970."""


def open_runs(tracking_uri: str) -> tuple[OpenRun, ...]:
    """Return every open run that this product started, pipeline runs first.

    Raises:
        ConfigError: the address is of another kind, or holds a password.
        StepFailed: MLflow refused or did not answer.
    """
    return tuple(
        sorted(
            _search(tracking_uri, "attributes.status = 'RUNNING'"), key=lambda run: run.parent_id is not None
        )
    )


def close(tracking_uri: str, run_id: str) -> bool:
    """Close a run as KILLED if it is open, and return whether that is how it ended.

    Raises:
        StepFailed: MLflow refused or did not answer.
    """
    with asked(tracking_uri) as client:
        return close_if_open(client, run_id)


def last_run_of(tracking_uri: str, flow_run_id: str) -> OpenRun | None:
    """Return the pipeline run that a flow run started last, open or not.

    Raises:
        ConfigError: the address is of another kind, or holds a password.
        StepFailed: MLflow refused or did not answer.
    """
    found = _search(tracking_uri, f"tags.{_FLOW_RUN} = '{flow_run_id}'")
    return max(found, key=lambda run: run.started_ms, default=None)


def _search(tracking_uri: str, wanted: str) -> Iterator[OpenRun]:
    with asked(tracking_uri) as client:
        names = {str(one.experiment_id): str(one.name) for one in pages(client.search_experiments)}
        ids = list(names)
        for start in range(0, len(ids), _PAGE):
            some = ids[start : start + _PAGE]
            for run in pages(
                lambda page_token, some=some: client.search_runs(some, wanted, page_token=page_token)
            ):
                if OWNER in run.data.tags:
                    yield _describe(run, names[str(run.info.experiment_id)])


def _describe(run: Any, pipeline: str) -> OpenRun:
    owner = _owner(run.data.tags[OWNER])
    return OpenRun(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        pipeline=pipeline,
        parent_id=run.data.tags.get(_PARENT),
        flow_run_id=run.data.tags.get(_FLOW_RUN),
        owner_is_dead=owner is not None and owner.is_dead,
        owner_is_alive=owner is not None and owner.is_alive,
        started_ms=int(run.info.start_time or 0),
    )


def _owner(written: str) -> Claimant | None:
    try:
        return Claimant.from_json(written)
    except ValidationError:  # a tag that somebody else wrote
        return None


def pages(search: Callable[..., Any]) -> Iterator[Any]:
    """Yield what a search of MLflow finds, page after page."""
    token = None
    while True:
        page: Iterable[Any] = search(page_token=token)
        yield from page
        token = getattr(page, "token", None)
        if not token:
            return
