"""Send one entry of an outbox to MLflow so that it is there once, however often it is sent.

Points, parameters, tags, inputs and files may be sent again: MLflow knows a point by its name, step, time and value,
and the rest by name. A run or a model that is created twice is there twice, so it carries the entry's id as a tag,
and is looked for before it is created again.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pt_core.errors import StepFailed
from tasks.among_writers import among_writers
from tasks.dashboard import TrackedRun
from tasks.late import late_record
from tasks.mlflow_database import make_database
from tasks.mlflow_settings import quiet, settle
from tasks.outbox_entries import (
    CloseRun,
    Done,
    Entry,
    LogBatch,
    LogFiles,
    LogInput,
    LogModel,
    LogRecord,
    OpenRun,
    Point,
    is_local,
)
from tasks.outbox_experiment import close_dead, ensure_experiment
from tasks.outbox_place import Place
from tasks.outbox_uploads import patient
from tasks.shared import RECORD

settle()

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Dataset as MlflowDataset  # noqa: E402
from mlflow.entities import (  # noqa: E402
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.models.model import MLMODEL_FILE_NAME  # noqa: E402
from mlflow.models.utils import get_external_mlflow_model_spec  # noqa: E402

ENTRY = "outbox_entry"
"""Tag: the entry that created a run or a model."""

_MAX_METRICS = 1000
_MAX_BOUND_METRICS = 100
"""MLflow looks for the points of a model that are there already in groups of this size, and refuses those of another."""
_MAX_PARAMS = 100
_MAX_TAGS = 100
_GRACE_S = 1.0
"""How long a server that came back may still be at work on a request that nobody waits for any more."""
Found = TypeVar("Found")


def connect(tracking_uri: str) -> MlflowClient:
    """Return a client of a server or a database.

    Raises:
        ConfigError: the database is not there and cannot be made.
    """
    quiet()
    make_database(tracking_uri)
    return MlflowClient(tracking_uri)


def send(place: Place, entry: Entry, *, again: bool, num_failures: int = 0) -> Done:
    """Send an entry.

    Args:
        place: where to.
        entry: what.
        again: whether it may have been taken before; then what must be there once is looked for first.
        num_failures: how often a server that answered did not take it: uploads are given more time each time.

    Raises:
        MlflowException: MLflow refused it or did not answer; ``outbox_refusal`` tells which.
        OSError: no connection, or a file cannot be read.
        StepFailed: it rests on an entry that was refused.
    """
    match entry:
        case OpenRun():
            return _open_run(place, entry, again=again)
        case LogModel():
            with patient(entry.bundle, num_failures=num_failures):
                return _log_model(place, entry, again=again)
        case LogBatch():
            _log_batch(place, entry)
        case LogInput():
            run_id, datasets = place.run_id(entry.run), [_dataset_input(entry)]
            among_writers(lambda: place.client.log_inputs(run_id, datasets=datasets))
        case LogFiles():
            _log_files(place, entry, entry.folder, entry.destination, num_failures=num_failures)
        case LogRecord():
            _log_record(place, entry, num_failures=num_failures)
        case CloseRun():
            place.client.set_terminated(place.run_id(entry.run), status=entry.status, end_time=entry.end_ms)
            _remove_doubles(place, entry)
    return Done(id=entry.id)


def _open_run(place: Place, entry: OpenRun, *, again: bool) -> Done:
    client, tags = place.client, {**entry.tags, ENTRY: entry.id}
    if entry.parent is None:
        experiment_id = ensure_experiment(client, entry.experiment, entry.artifact_location)
        close_dead(client, experiment_id)
    else:
        experiment_id = place.experiment_id(entry.parent, entry.experiment_id)
        tags["mlflow.parentRunId"] = place.run_id(entry.parent)
    wanted = _made_by(entry.id)
    found = _look(lambda: client.search_runs([experiment_id], wanted)) if again else None
    if found is None:
        found = client.create_run(experiment_id, start_time=entry.start_ms, run_name=entry.name, tags=tags)
    return Done(id=entry.id, run_id=str(found.info.run_id), experiment_id=experiment_id, again=again)


def _made_by(entry: str) -> str:
    return f"tags.{ENTRY} = '{entry}'"


def _remove_doubles(place: Place, entry: CloseRun) -> None:
    """When the pipeline run ends, delete what a server that hung has created besides what was found or created then."""
    client, created = place.client, [done for done in place.known.values() if done.run_id or done.model_id]
    if not created or created[0].id != entry.run:  # the parent is created first
        return
    for done in (done for done in created if done.again):
        experiments, wanted = [done.experiment_id], _made_by(done.id)
        if done.run_id:
            for run in client.search_runs(experiments, wanted):
                if run.info.run_id != done.run_id:
                    client.delete_run(run.info.run_id)
        else:
            for model in client.search_logged_models(experiments, wanted):
                if model.model_id != done.model_id:
                    client.delete_logged_model(model.model_id)


def _look(search: Callable[[], Sequence[Found]]) -> Found | None:
    """Return what is there already, after the time in which the server may still be about to create it."""
    for pause in (_GRACE_S, 0.0):
        found = search()
        if found:
            return found[0]
        time.sleep(pause)
    return None


def _log_model(place: Place, entry: LogModel, *, again: bool) -> Done:
    client, run_id = place.client, place.run_id(entry.run)
    experiment_id = place.experiment_id(entry.run, entry.experiment_id)
    wanted = _made_by(entry.id)
    model = _look(lambda: client.search_logged_models([experiment_id], wanted)) if again else None
    if model is None:
        model = client.create_logged_model(
            experiment_id,
            name=entry.name,
            source_run_id=run_id,
            params=entry.params,
            tags={**entry.tags, ENTRY: entry.id},
            model_type="classifier",
        )
    _check_folder(entry.bundle)
    client.log_model_artifacts(model.model_id, entry.bundle, "bundle")
    _log_mlmodel(client, model)
    client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run_id).outputs if again else None
    if model.model_id not in {output.model_id for output in (outputs.model_outputs if outputs else ())}:
        client.log_outputs(run_id, models=[LoggedModelOutput(model.model_id, step=0)])
    return Done(id=entry.id, experiment_id=experiment_id, model_id=str(model.model_id), again=again)


def _log_mlmodel(client: MlflowClient, model: LoggedModel) -> None:
    """Add the file without which the registry accepts no model, whatever its format."""
    with tempfile.TemporaryDirectory(prefix="pt-mlmodel-") as folder:
        path = Path(folder) / MLMODEL_FILE_NAME
        get_external_mlflow_model_spec(model).save(str(path))
        client.log_model_artifact(model.model_id, str(path))


def _log_batch(place: Place, entry: LogBatch) -> None:
    """Log in as few calls as MLflow's limits allow."""
    run_id = place.run_id(entry.run)
    metrics = [_metric(place, entry, point) for point in _not_logged(place, entry, run_id)]
    params = [Param(key, value) for key, value in entry.params.items()]
    tags = [RunTag(key, value) for key, value in entry.tags.items()]
    most = _MAX_BOUND_METRICS if entry.model else _MAX_METRICS
    while metrics or params or tags:
        place.client.log_batch(run_id, metrics[:most], params[:_MAX_PARAMS], tags[:_MAX_TAGS])
        del metrics[:most], params[:_MAX_PARAMS], tags[:_MAX_TAGS]


def _not_logged(place: Place, entry: LogBatch, run_id: str) -> Sequence[Point]:
    """Return the points without those of steps that were logged while the training went on."""
    if entry.unless_step_of is None:
        return entry.points
    own = {(point.step, point.timestamp_ms) for point in entry.points}
    history = place.client.get_metric_history(run_id, entry.unless_step_of)
    others = {found.step for found in history if (found.step, found.timestamp) not in own}
    return [point for point in entry.points if point.step not in others]


def _log_record(place: Place, entry: LogRecord, *, num_failures: int) -> None:
    run = TrackedRun(
        tracking_uri=str(place.client.tracking_uri),
        experiment_id=place.experiment_id(entry.run, ""),
        run_id=place.run_id(entry.run),
        outbox=entry.outbox,
    )
    record = late_record(Path(entry.folder), run)
    _log_files(place, entry, record.directory, RECORD, num_failures=num_failures)


def _log_files(
    place: Place, entry: LogFiles | LogRecord, folder: str, destination: str, *, num_failures: int
) -> None:
    _check_folder(folder)
    with patient(folder, num_failures=num_failures):
        place.client.log_artifacts(place.run_id(entry.run), folder, destination or None)


def _check_folder(folder: str) -> None:
    # MLflow uploads a missing folder as an empty one without a word.
    if not Path(folder).is_dir():
        raise StepFailed(f"{folder}: the files that were to be logged are gone")


def _metric(place: Place, entry: LogBatch, point: Point) -> Metric:
    name, digest = entry.dataset or (None, None)
    # Of a model that was refused nothing is known here: its figures go to the run alone.
    has_model = entry.model and not (is_local(entry.model) and entry.model not in place.known)
    return Metric(
        point.name,
        point.value,
        point.timestamp_ms,
        point.step,
        model_id=place.model_id(entry.model) if entry.model and has_model else None,
        dataset_name=name,
        dataset_digest=digest,
    )


def _dataset_input(entry: LogInput) -> DatasetInput:
    described = MlflowDataset(entry.name, entry.digest, "bundle", entry.source, profile=entry.profile)
    return DatasetInput(described, tags=[InputTag("mlflow.data.context", entry.context)])
