"""Write a pipeline run into MLflow, by explicit run ids and in batches."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from tasks.mlflow_settings import check_uri, quiet, settle

settle()

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Dataset as MlflowDataset  # noqa: E402
from mlflow.entities import DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models.model import MLMODEL_FILE_NAME  # noqa: E402
from mlflow.models.utils import get_external_mlflow_model_spec  # noqa: E402
from pydantic import ValidationError  # noqa: E402

from pt_core.artifacts.artifact import Artifact  # noqa: E402
from pt_core.artifacts.checkpoint import Checkpoint, EpochMetrics  # noqa: E402
from pt_core.bundle import open_bundle  # noqa: E402
from pt_core.data.dataset import Dataset  # noqa: E402
from pt_core.decision.compare import comparison_rows  # noqa: E402
from pt_core.decision.result import RunResult, VariantResult  # noqa: E402
from pt_core.decision.tables import to_csv  # noqa: E402
from tasks import tracking_fields as fields  # noqa: E402
from tasks.alias_lock import Claimant  # noqa: E402
from tasks.dashboard import TrackedRun, VariantTracking, without_secrets  # noqa: E402

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

_OWNER = "owner_process"
_MAX_METRICS = 1000
_MAX_PARAMS = 100
_DATASET_DIGEST_LENGTH = 12
"""MLflow allows 36 characters and shows them in a column's head; the whole digest is in a tag."""


def start_run(
    tracking_uri: str,
    *,
    experiment: str,
    run_name: str,
    artifact_root: str,
    tags: Mapping[str, str],
) -> TrackedRun:
    """Start the parent run of a pipeline run, in the experiment of its name, which is made if needed.

    Args:
        tracking_uri: sqlite:////absolute/path or http(s)://host.
        experiment: name of the pipeline.
        run_name: name of the run.
        artifact_root: folder for files, used with a database only; a server decides itself.
        tags: what to find the run by; passwords in addresses are taken out.

    Raises:
        ConfigError: the address is of another kind, or holds a password.
    """
    check_uri(tracking_uri)
    client = _client(tracking_uri)
    location = None if tracking_uri.startswith("http") else Path(artifact_root).resolve().as_uri()
    experiment_id = _ensure_experiment(client, experiment, location)
    _close_dead(client, experiment_id)
    return _create_run(
        client, tracking_uri, experiment_id, run_name, {"role": "pipeline", "stage": "lifecycle", **tags}
    )


def log_checkpoint(run: TrackedRun, checkpoint: Checkpoint, dataset: Dataset) -> None:
    """Log what was trained on what: parameters, every epoch's metrics, the dataset, digests as tags.

    Of a training that started from a checkpoint, every tensor that was or was not loaded is in ``warm_start.json``.
    """
    client = _client(run.tracking_uri)
    tags = {
        "checkpoint_digest": checkpoint.digest,
        "data_fingerprint": dataset.fingerprint,
        "dataset_digest": dataset.digest,
        "precision_reason": checkpoint.precision_reason,
        **fields.git_tags(checkpoint),
    }
    # Those that were logged while the training went on are not logged twice.
    known = {point.step for point in client.get_metric_history(run.run_id, "training/train_loss")}
    epochs = [epoch for epoch in checkpoint.history if epoch.epoch not in known]
    metrics = [metric for epoch in epochs for metric in _epoch_metrics(epoch)]
    _log_batch(client, run.run_id, metrics=metrics, params=fields.training_params(checkpoint), tags=tags)
    client.log_inputs(run.run_id, datasets=[_dataset_input(dataset, context="train")])
    if checkpoint.warm_start:
        _log_files(client, run.run_id, {"warm_start.json": checkpoint.warm_start.to_json().encode()})


def log_figures(run: TrackedRun, figures: Mapping[str, float], *, step: int) -> None:
    """Log some figures of one step while the run goes on."""
    metrics = [_metric(name, value, step=step) for name, value in figures.items()]
    _log_batch(_client(run.tracking_uri), run.run_id, metrics=metrics, params={}, tags={})


def log_variant(
    run: TrackedRun, variant: VariantResult, dataset: Dataset, *, pictures: Mapping[str, bytes]
) -> VariantTracking:
    """Log one variant as a child run and, if it was built, as a logged model with the bundle's files.

    Args:
        run: the parent run.
        variant: what was found.
        dataset: what it was measured on; every metric is bound to it.
        pictures: file name to bytes; the names are the same for every variant and without a folder,
            because MLflow compares only files at the root.

    Raises:
        IntegrityError: the artifact's files are missing or damaged.
    """
    client = _client(run.tracking_uri)
    child = _create_run(
        client, run.tracking_uri, run.experiment_id, variant.name, fields.variant_tags(run.run_id, variant)
    )
    with _failing(client, child):
        client.log_inputs(child.run_id, datasets=[_dataset_input(dataset, context="test")])
        model_id = _log_model(client, child, variant, variant.artifact) if variant.artifact else None
        metrics = _bound_metrics(variant, dataset, model_id)
        _log_batch(client, child.run_id, metrics=metrics, params=fields.variant_params(variant), tags={})
        _log_files(client, child.run_id, pictures)
    client.set_terminated(child.run_id, status="FAILED" if variant.state == "failed" else "FINISHED")
    return VariantTracking(run_id=child.run_id, model_id=model_id)


def log_result(run: TrackedRun, result: RunResult, files: Sequence[Path]) -> None:
    """Log the outcome on the parent run: comparison table, the given files at the root, the winner's metrics."""
    client = _client(run.tracking_uri)
    rows = comparison_rows(result)
    tables = {
        "comparison.json": fields.split_json(rows).encode(),
        "comparison.csv": to_csv(rows).encode(),
    }
    _log_files(client, run.run_id, {**tables, **{path.name: path.read_bytes() for path in files}})
    winner = next((variant for variant in result.variants if variant.name == result.winner), None)
    tags = {
        "winner": result.winner or "none",
        "champion": result.champion.name.removeprefix("champion ") if result.champion else "none",
        "verdict": "pass" if winner else "fail",
        "mlflow.note.content": result.sentence,
        # The tag by which MLflow finds tables to load and to show in its evaluation tab.
        "mlflow.loggedArtifacts": json.dumps([{"path": "comparison.json", "type": "table"}]),
    }
    metrics = (
        [_metric(key, value, step=0) for key, value in fields.variant_metrics(winner).items()]
        if winner
        else []
    )
    _log_batch(client, run.run_id, metrics=metrics, params={}, tags=tags)


def log_bundle(run: TrackedRun, directory: str, name: str) -> None:
    """Keep a bundle among the files of a run, byte for byte, so that a machine without this disk can fetch it.

    Args:
        run: the run.
        directory: the bundle; its files stay where they are, and are never written again.
        name: its folder among the run's files.

    Raises:
        IntegrityError: its files are missing or damaged.
    """
    # MLflow uploads a missing folder as an empty one without a word.
    open_bundle(Path(directory))
    _client(run.tracking_uri).log_artifacts(run.run_id, directory, name)


def finish_run(run: TrackedRun, status: RunStatus) -> None:
    """Close the parent run, so that it does not stay RUNNING for ever."""
    _client(run.tracking_uri).set_terminated(run.run_id, status=status)


def _client(tracking_uri: str) -> MlflowClient:
    quiet()
    return MlflowClient(tracking_uri)


def _ensure_experiment(client: MlflowClient, name: str, location: str | None) -> str:
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
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _create_run(
    client: MlflowClient, tracking_uri: str, experiment_id: str, name: str, tags: Mapping[str, str]
) -> TrackedRun:
    clean = {key: without_secrets(value) for key, value in tags.items()}
    clean[_OWNER] = Claimant.this_process().to_json()
    run = client.create_run(experiment_id, run_name=name, tags=clean)
    return TrackedRun(tracking_uri=tracking_uri, experiment_id=experiment_id, run_id=run.info.run_id)


def _close_dead(client: MlflowClient, experiment_id: str) -> None:
    """Close the runs whose process is known to have been killed: nobody else ever would."""
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        owner = run.data.tags.get(_OWNER)
        with contextlib.suppress(ValidationError):  # a tag that somebody else wrote
            if owner and Claimant.from_json(owner).is_dead:
                client.set_terminated(run.info.run_id, status="KILLED")


@contextlib.contextmanager
def _failing(client: MlflowClient, run: TrackedRun) -> Iterator[None]:
    """Close a run as FAILED if the block breaks; nobody else knows its id yet."""
    try:
        yield
    except BaseException:
        client.set_terminated(run.run_id, status="FAILED")
        raise


def _log_model(client: MlflowClient, child: TrackedRun, variant: VariantResult, artifact: Artifact) -> str:
    """Create a logged model that holds the bundle, byte for byte, under ``bundle/``."""
    # MLflow uploads a missing folder as an empty one without a word.
    open_bundle(Path(artifact.directory), kind="artifact")
    model = client.create_logged_model(
        child.experiment_id,
        name=_model_name(variant.name),
        source_run_id=child.run_id,
        params=fields.variant_params(variant),
        tags={"artifact_digest": artifact.digest, "verdict": variant.verdict.state},
        model_type="classifier",
    )
    client.log_model_artifacts(model.model_id, artifact.directory, "bundle")
    with tempfile.TemporaryDirectory(prefix="pt-mlmodel-") as folder:
        # The registry accepts only models that have this file, whatever their format.
        path = Path(folder) / MLMODEL_FILE_NAME
        get_external_mlflow_model_spec(model).save(str(path))
        client.log_model_artifact(model.model_id, str(path))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(child.run_id, models=[LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def _model_name(name: str) -> str:
    """Return the name with what MLflow forbids in model names replaced."""
    return "".join("-" if character in "/:.%\"'" else character for character in name)


def _log_batch(
    client: MlflowClient,
    run_id: str,
    *,
    metrics: Sequence[Metric],
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> None:
    """Log in as few calls as MLflow's limits allow."""
    items = [Param(key, value) for key, value in params.items()]
    labels = [RunTag(key, without_secrets(value)) for key, value in tags.items()]
    client.log_batch(run_id, metrics=metrics[:_MAX_METRICS], params=items[:_MAX_PARAMS], tags=labels)
    for start in range(_MAX_METRICS, len(metrics), _MAX_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + _MAX_METRICS])
    for start in range(_MAX_PARAMS, len(items), _MAX_PARAMS):
        client.log_batch(run_id, params=items[start : start + _MAX_PARAMS])


def _log_files(client: MlflowClient, run_id: str, files: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory(prefix="pt-mlflow-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        client.log_artifacts(run_id, folder)


def _metric(key: str, value: float, *, step: int) -> Metric:
    return Metric(key, value, int(time.time() * 1000), step)


def _bound_metrics(variant: VariantResult, dataset: Dataset, model_id: str | None) -> list[Metric]:
    now = int(time.time() * 1000)
    digest = dataset.digest[:_DATASET_DIGEST_LENGTH]
    return [
        Metric(key, value, now, 0, model_id=model_id, dataset_name=dataset.source, dataset_digest=digest)
        for key, value in fields.variant_metrics(variant).items()
    ]


def _epoch_metrics(epoch: EpochMetrics) -> list[Metric]:
    return [_metric(key, value, step=epoch.epoch) for key, value in fields.epoch_metrics(epoch).items()]


def _dataset_input(dataset: Dataset, *, context: str) -> DatasetInput:
    source = json.dumps({"bundle_digest": dataset.digest, "fingerprint": dataset.fingerprint})
    profile = json.dumps({split.name: split.num_samples for split in dataset.splits})
    described = MlflowDataset(
        dataset.source, dataset.digest[:_DATASET_DIGEST_LENGTH], "bundle", source, profile=profile
    )
    return DatasetInput(described, tags=[InputTag("mlflow.data.context", context)])
