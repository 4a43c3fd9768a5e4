"""Lineage: what a released artifact was made from, by digest, and with what."""

from __future__ import annotations

from pydantic import JsonValue

from pt_core.artifacts.artifact import Artifact, Step
from pt_core.decision.config import GateConfig
from pt_core.decision.result import RunResult
from pt_core.environment import Environment
from pt_core.evaluation.lineage import lineage
from pt_core.record import Record


class Ancestor(Record):
    """An artifact that the released one was made from."""

    chain: str
    """Its steps, e.g. ``onnx > onnx-int8-static``; the reference is ``torch``."""
    digest: str
    """Digest of its bundle."""


class Lineage(Record):
    """Where a released artifact comes from."""

    run_name: str
    """The run that made and judged it."""
    mlflow_run_id: str | None
    """Its parent run in MLflow."""
    prefect_flow_run_id: str | None
    """Its flow run in Prefect."""
    git_commit: str | None
    """Commit of the working directory at training, if it was a Git checkout."""
    git_dirty: bool | None
    """Whether that checkout had uncommitted changes."""
    data_fingerprint: str
    """Fingerprint of the samples, however they are split."""
    dataset_digest: str
    """Digest of the dataset bundle, its split included."""
    split_ids_sha256: dict[str, str]
    """Digest of the sample ids of each split."""
    calibration_ids_sha256: str | None
    """Digest of the ids of the samples that calibrated it; ``None`` where nothing was calibrated."""
    checkpoint_digest: str
    """Digest of the checkpoint."""
    artifact_digest: str
    """Digest of the artifact."""
    parent_digest: str
    """Digest of the bundle that its last step read."""
    ancestors: tuple[Ancestor, ...]
    """From the reference on, those that were still in the store when the release was made."""
    steps: tuple[Step, ...]
    """The chain from the checkpoint to the artifact, with options."""
    seed: int
    """The seed of everything random."""
    training: dict[str, JsonValue]
    """Configuration of the training."""
    policy: GateConfig | None
    """The rules that it was judged by."""
    config: dict[str, JsonValue] | None
    """The pipeline's whole configuration; ``None`` where the release was made without it."""
    reproduce: str
    """The command that makes the run again."""
    trained_on: Environment
    """Where the checkpoint was made."""
    built_on: Environment
    """Where the artifact was made."""


def lineage_of(result: RunResult, artifact: Artifact, config: dict[str, JsonValue] | None) -> Lineage:
    """Return where an artifact of a run comes from."""
    checkpoint, dataset, quantization = result.checkpoint, result.dataset, artifact.quantization
    return Lineage(
        run_name=result.run_name,
        mlflow_run_id=result.mlflow_run_id,
        prefect_flow_run_id=result.prefect_flow_run_id,
        git_commit=checkpoint.environment.git_commit,
        git_dirty=checkpoint.environment.git_dirty,
        data_fingerprint=dataset.fingerprint,
        dataset_digest=dataset.digest,
        split_ids_sha256={split.name: split.ids_sha256 for split in dataset.splits},
        calibration_ids_sha256=quantization.calibration_ids_sha256 if quantization else None,
        checkpoint_digest=artifact.checkpoint_digest,
        artifact_digest=artifact.digest,
        parent_digest=artifact.parent_digest,
        ancestors=tuple(Ancestor(chain=one.chain, digest=one.digest) for one in lineage(artifact)[:-1]),
        steps=artifact.steps,
        seed=result.seed,
        training=checkpoint.config,
        policy=result.policy,
        config=config,
        reproduce=result.reproduce,
        trained_on=checkpoint.environment,
        built_on=artifact.environment,
    )
