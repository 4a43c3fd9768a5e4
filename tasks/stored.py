"""Read what a pipeline run left in MLflow: the run by its name or id, and single files of the bundles that it keeps."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pt_core.errors import ConfigError, IntegrityError, StepFailed
from pt_core.manifest import is_digest
from pt_core.record import Record
from tasks.dashboard import without_secrets
from tasks.registry import asked

# After the registry, which sets what MLflow reads at its import.
from mlflow import MlflowClient  # isort: skip
from mlflow.entities import Run  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # isort: skip

_ID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
"""What a run can be called: a folder's plain name, and MLflow's filters have no way to escape a quotation mark."""
_MAX_EXPERIMENTS = 1000


class StoredRun(Record):
    """One pipeline run, or a training alone, as MLflow knows it."""

    run_id: str
    """Its id."""
    name: str
    """Its name."""
    experiment_id: str
    """Id of its pipeline's experiment."""
    status: str
    """Whether it is still at work, and how it ended."""
    artifact_uri: str
    """Where MLflow keeps its files."""
    tags: dict[str, str]
    """What it is found by."""


def find_run(tracking_uri: str, name: str) -> StoredRun:
    """Return a pipeline run, or a training alone, by its name or its id.

    Raises:
        ConfigError: there is none, several have the name, or it is the run of a single variant.
        IntegrityError: it has a name that no run of ours gets.
        StepFailed: MLflow refused or did not answer.
    """
    where = without_secrets(tracking_uri)
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name[:80]!r}: expected the name of a run, or its id in MLflow of 32 hex digits")
    with asked(tracking_uri) as client:
        found = [run for run in _found(client, name) if run.data.tags.get("role") == "pipeline"]
    if not found:
        raise ConfigError(f"no run {name!r} in the MLflow at {where}")
    if len(found) > 1:
        ids = ", ".join(run.info.run_id for run in found)
        raise ConfigError(f"{len(found)} runs in the MLflow at {where} are named {name!r}; give an id: {ids}")
    return _describe(found[0])


def model_files(tracking_uri: str, run: StoredRun, *, artifact_digest: str) -> str:
    """Return where MLflow keeps the bundle of an artifact that a run logged as a model.

    Raises:
        ConfigError: the run logged no such artifact, or it was deleted.
        StepFailed: MLflow refused or did not answer.
    """
    assert is_digest(artifact_digest)
    with asked(tracking_uri) as client:
        children = client.search_runs([run.experiment_id], f"tags.`mlflow.parentRunId` = '{run.run_id}'")
        ids = {child.info.run_id for child in children}
        models = client.search_logged_models(
            [run.experiment_id], filter_string=f"tags.`artifact_digest` = '{artifact_digest}'"
        )
        model = next((one for one in models if one.source_run_id in ids), None)
    if model is None:
        raise ConfigError(
            f"{run.name}: the MLflow at {without_secrets(tracking_uri)} has no model with the artifact "
            f"{artifact_digest[:12]} of this run; it was deleted there"
        )
    return f"{str(model.artifact_location).rstrip('/')}/bundle"


def list_files(tracking_uri: str, source: str) -> tuple[str, ...]:
    """Return the names of the files at the root of a folder that MLflow keeps; none where there is no such folder.

    Raises:
        StepFailed: MLflow, or the store that it names, refused or did not answer.
    """
    with _reading(tracking_uri, source):
        found = get_artifact_repository(source, tracking_uri=tracking_uri).list_artifacts()
        return tuple(str(file.path) for file in found if not file.is_dir)


def fetch_files(tracking_uri: str, source: str, limits: Mapping[str, int], folder: Path) -> None:
    """Fetch some files; nothing else that lies there is fetched, nor what MLflow lists as larger or as a folder.

    Args:
        tracking_uri: MLflow's address.
        source: the folder where MLflow keeps them.
        limits: how many bytes each may have, by its name, which the caller knows to be plain.
        folder: where they go.

    Raises:
        IntegrityError: one is larger than it may be, or a folder.
        StepFailed: one is missing, or MLflow, or the store that it names, refused or did not answer.
    """
    with _reading(tracking_uri, source):
        files = get_artifact_repository(source, tracking_uri=tracking_uri)
        folders = {name.rpartition("/")[0] for name in limits}
        listed = {found.path: found for one in folders for found in files.list_artifacts(one or None)}
        for name, limit in limits.items():
            found = listed.get(name)
            # MLflow leaves out the size of an empty file.
            if found and (found.is_dir or (found.file_size or 0) > limit):
                what = "a folder" if found.is_dir else f"of {found.file_size} bytes"
                raise IntegrityError(
                    f"{without_secrets(source)}/{name}: is {what}, expected a file of at most {limit} bytes"
                )
            files.download_artifacts(name, dst_path=str(folder))


@contextlib.contextmanager
def _reading(tracking_uri: str, source: str) -> Iterator[None]:
    """Turn what an HTTP library or a disk raise, where MLflow lets it through, into a failure that names the place."""
    try:
        with asked(tracking_uri):
            yield
    except OSError as error:
        problem = str(error.strerror or error)[:500]
        raise StepFailed(f"{without_secrets(source)}: its files cannot be read: {problem}") from error


def _found(client: MlflowClient, name: str) -> list[Run]:
    """Return the runs of an id, or else of a name, in every experiment."""
    if _ID.fullmatch(name):
        try:
            return [client.get_run(name)]
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    experiments = [one.experiment_id for one in client.search_experiments(max_results=_MAX_EXPERIMENTS)]
    return list(client.search_runs(experiments, f"attributes.run_name = '{name}'")) if experiments else []


def _describe(run: Run) -> StoredRun:
    tags: Mapping[str, str] = run.data.tags
    name = str(run.info.run_name)
    # Anybody who may write to MLflow renames a run, and its name is to be a folder here.
    if not _NAME.fullmatch(name):
        raise IntegrityError(
            f"MLflow's run {run.info.run_id}: named {name[:80]!r}, expected a folder's plain name"
        )
    return StoredRun(
        run_id=str(run.info.run_id),
        name=name,
        experiment_id=str(run.info.experiment_id),
        status=str(run.info.status),
        artifact_uri=str(run.info.artifact_uri).rstrip("/"),
        tags=dict(tags),
    )
