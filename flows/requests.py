"""The request of each stage, made from the configuration and the records of the stages before it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flows.checkpoints import warm_start_source
from flows.config import PipelineConfig
from flows.home import Home
from pt_core.artifacts.artifact import Artifact, Step
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.artifacts.registry import step_target
from pt_core.building.build import StepRequest, checkpoint_source
from pt_core.data.dataset import Dataset
from pt_core.data.files import digest_of, existing, source_digest
from pt_core.data.requests import PrepareRequest
from pt_core.environment import code_digest
from pt_core.evaluation.config import EvaluationConfig
from pt_core.evaluation.measures import code_of
from pt_core.evaluation.requests import AttackRequest, Attacks, EvaluateRequest
from pt_core.inference.requests import VerifyRequest
from pt_core.modeling.spec import ModelConfig
from pt_core.training.requests import TrainRequest


def prepare_request(settings: PipelineConfig, *, base_dir: Path, home: Home) -> PrepareRequest:
    """Return what preparing the samples is asked; how they are augmented later changes none of them."""
    factory = settings.data.factory
    return PrepareRequest(
        config=settings.data.model_copy(update={"augmentation": ()}),
        seed=settings.seed,
        base_dir=str(base_dir),
        source_sha256=source_digest(settings.data, base_dir),
        code_sha256=code_digest(factory.target) if factory else "",
        store=home.store,
    )


def train_request(settings: PipelineConfig, dataset: Dataset, home: Home, *, base_dir: Path) -> TrainRequest:
    """Return what training is asked.

    Raises:
        ConfigError: there is no checkpoint where the warm start names one, or nothing where the model depends on it.
        IntegrityError: it is damaged.
    """
    return TrainRequest(
        dataset=dataset,
        model=settings.model,
        code_sha256=model_code(settings.model, base_dir=base_dir),
        config=settings.train,
        seed=settings.seed,
        augmentation=settings.data.augmentation,
        store=home.store,
        warm_start=warm_start_source(settings, base_dir=base_dir),
    )


def model_code(model: ModelConfig, *, base_dir: Path) -> str:
    """Return the digest of the network's code and of the files that it reads.

    Raises:
        ConfigError: the code, or one of the files, is not there.
    """
    paths = existing(model.depends_on, base_dir, where="model.depends_on")
    code = code_digest(model.target)
    return hashlib.sha256(f"{code}{digest_of(paths)}".encode()).hexdigest() if paths else code


def verify_request(checkpoint: Checkpoint) -> VerifyRequest:
    """Return what verifying the checkpoint is asked."""
    return VerifyRequest(directory=checkpoint.directory, expected_digest=checkpoint.digest)


def root_request(checkpoint: Checkpoint, dataset: Dataset, home: Home) -> StepRequest:
    """Return what making the reference artifact is asked."""
    return step_request(checkpoint_source(checkpoint), None, Step(name="torch"), dataset, home)


def step_request(
    source: Artifact, reference: Artifact | None, step: Step, dataset: Dataset, home: Home
) -> StepRequest:
    """Return what one step of a chain is asked."""
    return StepRequest(
        source=source,
        reference=reference,
        step=step,
        dataset=dataset,
        store=home.store,
        code_sha256=code_digest(step_target(step.name)),
        signing_keys=home.keys,
    )


def evaluate_request(
    settings: PipelineConfig, artifact: Artifact, attacks: Attacks, dataset: Dataset, home: Home
) -> EvaluateRequest:
    """Return what measuring one artifact is asked."""
    return EvaluateRequest(
        artifact=artifact,
        dataset=dataset,
        attacks=attacks,
        config=settings.evaluation,
        code_sha256=evaluate_code(settings.evaluation),
        store=home.store,
    )


def evaluate_code(config: EvaluationConfig) -> str:
    """Return the digest of the user's code behind slices and metrics; nothing if there is none."""
    digests = [code_digest(target) for target in code_of(config)]
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def attack_request(
    settings: PipelineConfig, reference: Artifact, dataset: Dataset, home: Home
) -> AttackRequest:
    """Return what crafting the attacks is asked; how answers are scored later changes no perturbation."""
    scoring = {"thresholds": (), "slices": (), "metrics": ()}
    return AttackRequest(
        reference=reference,
        dataset=dataset,
        config=settings.evaluation.model_copy(update=scoring),
        seed=settings.seed,
        store=home.store,
    )
