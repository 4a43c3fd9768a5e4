"""What verifying and predicting are asked and answer, apart from the code so that asking imports nothing heavy."""

from __future__ import annotations

from pt_core.keys import Trust
from pt_core.record import Record


class VerifyRequest(Record):
    """Verify one bundle."""

    directory: str
    """The bundle."""
    expected_digest: str | None = None
    """Digest it must have, where the caller knows it; one that has it needs no signature."""
    trust: Trust | None = None
    """Whose signature counts where the artifact is a program; whom this home trusts if left out."""


class PredictRequest(Record):
    """Predict files with one artifact."""

    bundle: str
    """Directory of the artifact."""
    inputs: tuple[str, ...]
    """Files: .npy, .npz, .csv, .png or .jpg."""
    trust: Trust | None = None
    """Whose signature counts where the artifact is a program; whom this home trusts if left out."""


class Prediction(Record):
    """The answer for one sample."""

    input: str
    """The file it came from."""
    index: int
    """Its position in that file."""
    label: str
    """Name of the most probable class."""
    probability: float
    """Its probability."""
    probabilities: tuple[float, ...]
    """Of every class, in the order of the labels."""


class Predictions(Record):
    """The answers for all inputs."""

    bundle_digest: str
    """Digest of the artifact that answered."""
    format: str
    """Its format."""
    labels: tuple[str, ...]
    """Name of each class."""
    predictions: tuple[Prediction, ...]
    """One per sample."""
