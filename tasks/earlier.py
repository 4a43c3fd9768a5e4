"""Task earlier: find in MLflow the runs of a pipeline that settled what the same inputs come to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from pt_core.errors import StepFailed
from pt_core.record import Record
from tasks.dashboard import without_secrets
from tasks.registry import asked
from tasks.tracking_fields import SETTLED

INPUTS_DIGEST = "inputs_digest"
"""Tag: the digest of everything that decides what a run finds, but for the champion that it is judged against."""

_NUM_LOOKED_AT = 50
_LAST_WRITTEN = "comparison.json"
"""A file that is logged with the verdict, at the end."""
_ENDED = {"pass": "FINISHED", "fail": "FAILED"}
"""The status that MLflow has of a run by its verdict; a crashed one has no verdict."""


class EarlierRun(Record):
    """A run that ended with a verdict, and is logged whole."""

    run_id: str
    """Its id in MLflow."""
    name: str
    """Its name."""
    started_at: str
    """When it began, ISO 8601 in UTC."""
    verdict: Literal["pass", "fail"]
    """Whether a variant passed."""
    champion: str
    """What it was judged against, as NAME/VERSION; none if there was no champion."""
    sentence: str
    """Its outcome in one sentence."""
    aftermath: str = ""
    """What became of the version that it registered, in a clause; empty where nothing was decided on it."""


@task(name="earlier", task_run_name="look for an equal run", cache_policy=NO_CACHE)
def find_earlier(tracking_uri: str, *, pipeline: str, inputs_digest: str) -> tuple[EarlierRun, ...] | str:
    """Return the runs of a pipeline that settled what these inputs come to, the latest first, or why MLflow does not say.

    Left out are those that crashed, that are deleted, or whose tables are gone, and those in which a step failed or a
    rule could not be decided, which may end otherwise the next time; whether their artifacts are still there is not
    looked at.

    Raises:
        ConfigError: the address is of another kind, or holds a password.
    """
    try:
        return _looked_up(tracking_uri, pipeline, inputs_digest)
    # Returned, since a run goes on without an answer, and Prefect logs what a task raises with all of its traceback.
    except StepFailed as error:
        return error.message
    except OSError as error:
        # What MLflow's client lets through of a store of files that refuses or breaks.
        return f"MLflow at {without_secrets(tracking_uri)}: {error}"[:2000]


def _looked_up(tracking_uri: str, pipeline: str, inputs_digest: str) -> tuple[EarlierRun, ...]:
    with asked(tracking_uri) as client:
        experiment = client.get_experiment_by_name(pipeline)
        if experiment is None:
            return ()
        runs = client.search_runs(
            [experiment.experiment_id],
            f"tags.{INPUTS_DIGEST} = '{inputs_digest}' and tags.{SETTLED} = 'true'",
            order_by=["attributes.start_time DESC"],
            max_results=_NUM_LOOKED_AT,
        )
        return tuple(
            _describe(run.info.run_id, run.info.run_name, run.info.start_time, run.data.tags)
            for run in runs
            if _ENDED.get(run.data.tags.get("verdict", "")) == run.info.status
            and any(file.path == _LAST_WRITTEN for file in client.list_artifacts(run.info.run_id))
        )


def _describe(run_id: str, name: str, start_time_ms: int, tags: Mapping[str, str]) -> EarlierRun:
    began = datetime.fromtimestamp(start_time_ms / 1000, tz=UTC)
    return EarlierRun(
        run_id=run_id,
        name=name,
        started_at=began.isoformat(timespec="seconds"),
        verdict="pass" if tags["verdict"] == "pass" else "fail",
        champion=tags.get("champion", ""),
        sentence=tags.get("mlflow.note.content", ""),
    )
