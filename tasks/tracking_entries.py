"""Turn records of a run into the entries that say them to MLflow; no entry is sent here."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.checkpoint import Checkpoint, EpochMetrics
from pt_core.data.dataset import Dataset
from pt_core.decision.result import VariantResult
from pt_core.files import write_bytes_atomically
from tasks import tracking_fields as fields
from tasks.alias_lock import Claimant
from tasks.dashboard import without_secrets
from tasks.outbox_entries import (
    CloseRun,
    Entry,
    LogBatch,
    LogFiles,
    LogInput,
    LogModel,
    OpenRun,
    Point,
    new_id,
)
from tasks.outbox_experiment import OWNER

_DATASET_DIGEST_LENGTH = 12
"""MLflow allows 36 characters and shows them in a column's head; the whole digest is in a tag."""


def now_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return int(time.time() * 1000)


def parent_run(name: str, *, experiment: str, artifact_root: str | None, tags: Mapping[str, str]) -> OpenRun:
    """Return the entry that creates the parent run; ``artifact_root`` is where a new experiment keeps its files."""
    return OpenRun(
        id=new_id(),
        experiment=experiment,
        artifact_location=Path(artifact_root).resolve().as_uri() if artifact_root else None,
        name=name,
        tags=_owned({"role": "pipeline", "stage": "lifecycle", **tags}),
        start_ms=now_ms(),
    )


def training(run: str, checkpoint: Checkpoint, dataset: Dataset) -> LogBatch:
    """Return what was trained on what: parameters, every epoch's metrics that was not told before, digests as tags."""
    tags = {
        "checkpoint_digest": checkpoint.digest,
        "data_fingerprint": dataset.fingerprint,
        "dataset_digest": dataset.digest,
        "precision_reason": checkpoint.precision_reason,
        **fields.git_tags(checkpoint),
    }
    return LogBatch(
        id=new_id(),
        run=run,
        points=tuple(point for epoch in checkpoint.history for point in _epoch_points(epoch)),
        params=fields.training_params(checkpoint),
        tags=clean(tags),
        # Those that were logged while the training went on are not logged twice.
        unless_step_of="training/train_loss",
    )


def figures(
    run: str, values: Mapping[int, Mapping[str, float]], *, tags: Mapping[str, str] | None = None
) -> LogBatch:
    """Return the numbers of some steps, by the step."""
    points = tuple(point for step, named in values.items() for point in _points(named, step=step))
    return LogBatch(id=new_id(), run=run, points=points, tags=clean(tags or {}))


def dataset_input(run: str, dataset: Dataset, *, context: str) -> LogInput:
    """Return which dataset a run rests on, and what for."""
    return LogInput(
        id=new_id(),
        run=run,
        name=dataset.source,
        digest=dataset.digest[:_DATASET_DIGEST_LENGTH],
        source=json.dumps({"bundle_digest": dataset.digest, "fingerprint": dataset.fingerprint}),
        profile=json.dumps({split.name: split.num_samples for split in dataset.splits}),
        context=context,
    )


def files(run: str, contents: Mapping[str, bytes], *, folder: Path) -> LogFiles:
    """Write small files into a folder, where they wait, and return the entry that sends them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_bytes_atomically(folder / name, content)
    return LogFiles(id=new_id(), run=run, folder=str(folder))


def variant_run(
    variant: VariantResult,
    dataset: Dataset,
    *,
    parent: str,
    experiment_id: str,
    pictures: Mapping[str, bytes],
    folder: Path,
) -> tuple[OpenRun, LogModel | None, tuple[Entry, ...]]:
    """Return the entries of a variant's child run in their order, the first and the one of its logged model apart too.

    Args:
        variant: what was found.
        dataset: what it was measured on.
        parent: the parent run.
        experiment_id: of the parent, where it is known.
        pictures: file name to bytes.
        folder: where the pictures wait.
    """
    child = OpenRun(
        id=new_id(),
        parent=parent,
        experiment_id=experiment_id,
        name=variant.name,
        tags=_owned(fields.variant_tags(parent, variant)),
        start_ms=now_ms(),
    )
    model = _model(child, variant, variant.artifact) if variant.artifact else None
    batch = LogBatch(
        id=new_id(),
        run=child.id,
        points=_points(fields.variant_metrics(variant), step=0),
        params=fields.variant_params(variant),
        model=model.id if model else None,
        dataset=(dataset.source, dataset.digest[:_DATASET_DIGEST_LENGTH]),
    )
    status = "FAILED" if variant.state == "failed" else "FINISHED"
    entries: tuple[Entry | None, ...] = (
        child,
        dataset_input(child.id, dataset, context="test"),
        model,
        batch,
        files(child.id, pictures, folder=folder) if pictures else None,
        CloseRun(id=new_id(), run=child.id, status=status, end_ms=now_ms()),
    )
    return child, model, tuple(entry for entry in entries if entry is not None)


def clean(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags without the passwords in addresses."""
    return {key: without_secrets(value) for key, value in tags.items()}


def _model(child: OpenRun, variant: VariantResult, artifact: Artifact) -> LogModel:
    # What MLflow forbids in the names of models is replaced.
    name = "".join("-" if character in "/:.%\"'" else character for character in variant.name)
    return LogModel(
        id=new_id(),
        run=child.id,
        experiment_id=child.experiment_id,
        name=name,
        params=fields.variant_params(variant),
        tags={"artifact_digest": artifact.digest, "verdict": variant.verdict.state},
        bundle=artifact.directory,
    )


def _owned(tags: Mapping[str, str]) -> dict[str, str]:
    return {**clean(tags), OWNER: Claimant.this_process().to_json()}


def _epoch_points(epoch: EpochMetrics) -> tuple[Point, ...]:
    return _points(fields.epoch_metrics(epoch), step=epoch.epoch)


def _points(values: Mapping[str, float], *, step: int) -> tuple[Point, ...]:
    now = now_ms()
    return tuple(Point(name=name, value=value, timestamp_ms=now, step=step) for name, value in values.items())
