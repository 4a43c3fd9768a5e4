"""What crafting, evaluating and timing are asked, apart from the code so that asking imports nothing heavy."""

from __future__ import annotations

from pt_core.artifacts.artifact import Artifact
from pt_core.bundle import Bundle
from pt_core.data.dataset import Dataset
from pt_core.evaluation.config import EfficiencyConfig, EvaluationConfig
from pt_core.evaluation.report import EfficiencyReport
from pt_core.record import Record


class AttackRequest(Record):
    """Craft perturbed test samples on the reference."""

    reference: Artifact
    """The source model."""
    dataset: Dataset
    """The samples."""
    config: EvaluationConfig
    """Which perturbations."""
    seed: int
    """Seed of the noise."""
    store: str
    """Folder that the attacks bundle is written into."""


class AttackPoint(Record):
    """One perturbed copy of the test split."""

    attack: str
    """"fgsm" or "gaussian-noise"."""
    strength: float
    """Epsilon or sigma."""
    file: str
    """Its .npy file in the bundle, (N, *input_shape) float32."""


class AttackInfo(Record):
    """What the manifest of an attacks bundle says."""

    points: tuple[AttackPoint, ...]
    """Every perturbation."""
    reference_digest: str
    """Digest of the artifact it was crafted on."""
    dataset_digest: str
    """Digest of the dataset."""
    seed: int
    """Seed of the noise."""


class Attacks(AttackInfo, Bundle):
    """Perturbed samples on disk, crafted once and replayed on every artifact."""


class EvaluateRequest(Record):
    """Measure one artifact."""

    artifact: Artifact
    """What to measure."""
    dataset: Dataset
    """The samples."""
    attacks: Attacks
    """The perturbed samples."""
    config: EvaluationConfig
    """How to measure."""
    store: str
    """Folder that the evaluation bundle is written into."""


class EfficiencyRequest(Record):
    """Time artifacts against the reference, interleaved in one process."""

    reference: Artifact
    """What ratios are taken against."""
    artifacts: tuple[Artifact, ...]
    """What to time, the reference left out."""
    dataset: Dataset
    """Where inputs come from."""
    config: EfficiencyConfig
    """How to time."""


class EfficiencyReports(Record):
    """One report per artifact, the reference's first."""

    reports: tuple[EfficiencyReport, ...]
    """In the order of the request."""
