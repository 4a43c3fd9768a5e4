"""What crafting, evaluating and timing are asked, apart from the code so that asking imports nothing heavy."""

from __future__ import annotations

from pydantic import Field

from pt_core.artifacts.artifact import Artifact
from pt_core.bundle import Bundle
from pt_core.data.dataset import Dataset
from pt_core.evaluation.config import EfficiencyConfig, EvaluationConfig
from pt_core.evaluation.report import EfficiencyReport, EvaluationReport
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
    """Seed of everything random in them."""
    store: str
    """Folder that the attacks bundle is written into."""


class AttackPoint(Record):
    """One perturbed copy of the test split."""

    attack: str
    """"fgsm", "gaussian-noise", "pgd", "pgd-l2", or the name of a corruption."""
    strength: float
    """Epsilon, sigma or severity."""
    file: str
    """Its .npy file in the bundle, (num_samples, *input_shape) float32."""


class AttackInfo(Record):
    """What the manifest of an attacks bundle says."""

    points: tuple[AttackPoint, ...]
    """Every perturbation."""
    num_samples: int
    """Test samples that are perturbed, spread evenly over the split."""
    reference_digest: str
    """Digest of the artifact it was crafted on."""
    dataset_digest: str
    """Digest of the dataset."""
    seed: int
    """Seed of everything random in them."""


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
    code_sha256: str = ""
    """Digest of the user's code behind slices and metrics; nothing if there is none."""
    store: str
    """Folder that the evaluation bundle is written into."""


class Contender(Record):
    """One variant of the transfer table."""

    name: str
    """Its name in the table."""
    artifact: Artifact
    """What is attacked and scored."""
    evaluation: EvaluationReport
    """Holds the samples that Square made on it."""


class TransferRequest(Record):
    """Score every artifact on what was crafted on each: by gradients on those that have them, by queries on all."""

    contenders: tuple[Contender, ...]
    """The reference first."""
    dataset: Dataset
    """The samples."""
    config: EvaluationConfig
    """Strength, steps and samples."""
    seed: int
    """Seed of the random starts."""
    store: str
    """Folder for what a failure leaves behind."""


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


class StartRequest(Record):
    """Start one artifact in a process of its own."""

    artifact: Artifact
    """What to start."""
    batch_size: int
    """Samples per call while its memory is watched."""


class StartReport(Record):
    """What starting one artifact took."""

    cold_start_s: float = Field(gt=0)
    """Seconds to the first answer."""
    peak_memory_bytes: int | None
    """Growth of the process's peak resident memory; ``None`` where the kernel does not tell."""
