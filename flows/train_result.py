"""TrainResult: what a training alone gave, and the JSON document that ``train --json`` prints of it."""

from __future__ import annotations

from pydantic import JsonValue

from pt_core.artifacts.checkpoint import Checkpoint, EpochMetrics
from pt_core.data.dataset import Dataset
from pt_core.decision.result import Link
from pt_core.record import Record


class TrainResult(Record):
    """What one training gave."""

    run_name: str
    """Name of the run."""
    pipeline: str
    """Name of the pipeline."""
    dataset: Dataset
    """What it was trained on."""
    checkpoint: Checkpoint
    """The verified checkpoint."""
    checks: tuple[str, ...]
    """What was checked about it, a sentence each."""
    prefect_flow_run_id: str
    """Id of the flow run."""
    mlflow_run_id: str | None
    """Id of its MLflow run; ``None`` where MLflow was away all the time."""
    links: tuple[Link, ...]
    """Pages that show it."""
    reproduce: str
    """The command that does it again."""
    go_on: str
    """The command that does the rest of the main job without training."""


def kept_epoch(checkpoint: Checkpoint) -> EpochMetrics:
    """Return what is known of the epoch whose weights the checkpoint holds."""
    return next(metrics for metrics in checkpoint.history if metrics.epoch == checkpoint.epoch)


def train_document(result: TrainResult) -> dict[str, JsonValue]:
    """Return a finished training as plain JSON: the checkpoint, how good it is, what was checked, ids and links."""
    checkpoint = result.checkpoint
    kept = kept_epoch(checkpoint)
    started = checkpoint.warm_start
    return {
        "run_name": result.run_name,
        "pipeline": result.pipeline,
        "exit_code": 0,
        "checkpoint": {
            "directory": checkpoint.directory,
            "digest": checkpoint.digest,
            "epoch": checkpoint.epoch,
            "validation_accuracy": kept.validation_accuracy,
            "validation_loss": kept.validation_loss,
            "num_parameters": checkpoint.num_parameters,
            "num_frozen_parameters": checkpoint.num_frozen_parameters,
            "flops_per_sample": checkpoint.flops_per_sample,
            "warm_start": started.model_dump(mode="json") if started else None,
        },
        "checks": list(result.checks),
        "dataset": {"fingerprint": result.dataset.fingerprint, "digest": result.dataset.digest},
        "git_commit": checkpoint.environment.git_commit,
        "seed": checkpoint.seed,
        "prefect_flow_run_id": result.prefect_flow_run_id,
        "mlflow_run_id": result.mlflow_run_id,
        "links": {link.name: link.url for link in result.links},
        "reproduce": result.reproduce,
        "go_on": result.go_on,
    }
