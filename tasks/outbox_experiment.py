"""The experiment that runs go to: made, or restored where a person deleted it, and its dead runs closed."""

from __future__ import annotations

import contextlib

from pydantic import ValidationError

from tasks.alias_lock import Claimant
from tasks.mlflow_settings import settle

settle()

from mlflow import MlflowClient  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

OWNER = "owner_process"
"""Tag: the process that a run belongs to, as JSON."""


def ensure_experiment(client: MlflowClient, name: str, location: str | None) -> str:
    """Return the id of an experiment that takes runs, whoever else makes or restores it at the same moment.

    Raises:
        MlflowException: MLflow refused or did not answer.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            # The kind spares the dashboard a guess, and a question to the user.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            return str(client.create_experiment(name, artifact_location=location, tags=tags))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # two runs may start at once
                raise
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        _restore(client, found.experiment_id)
    return str(found.experiment_id)


def _restore(client: MlflowClient, experiment_id: str) -> None:
    try:
        client.restore_experiment(experiment_id)
    except MlflowException:
        # Among the deleted ones there is none, where another run has restored it since.
        if client.get_experiment(experiment_id).lifecycle_stage == "deleted":
            raise


def close_dead(client: MlflowClient, experiment_id: str) -> None:
    """Close the runs whose process is known to have been killed: nobody else ever would.

    Raises:
        MlflowException: MLflow refused or did not answer.
    """
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        owner = run.data.tags.get(OWNER)
        with contextlib.suppress(ValidationError):  # a tag that somebody else wrote
            if owner and Claimant.from_json(owner).is_dead:
                close_if_open(client, run.info.run_id)


def close_if_open(client: MlflowClient, run_id: str) -> bool:
    """Close a run as KILLED if it is still open, and return whether that is how it ended.

    What was found open may have been closed since by whoever sends its outbox, and it keeps how it ended.

    Raises:
        MlflowException: MLflow refused or did not answer.
    """
    status = client.get_run(run_id).info.status
    if status == "RUNNING":
        client.set_terminated(run_id, status="KILLED")
    return status in ("RUNNING", "KILLED")
