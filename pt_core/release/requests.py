"""What making a release is asked, and what a release is, apart from the code so that asking imports nothing heavy."""

from __future__ import annotations

from pydantic import JsonValue

from pt_core.artifacts.artifact import Artifact
from pt_core.bundle import Bundle
from pt_core.decision.result import RunResult
from pt_core.keys import Keys
from pt_core.record import Record

ARTIFACT = "artifact"
"""The judged artifact's folder inside a release."""
VERDICT, LINEAGE, SERVING, CARD = "verdict.json", "lineage.json", "serving.json", "MODEL_CARD.md"


class ReleaseRequest(Record):
    """Make a release of one variant of a finished run."""

    result: RunResult
    """The run."""
    store: str
    """Folder that the release is written into."""
    signing_keys: Keys
    """Where the key that signs it is."""
    variant: str | None = None
    """Name of the variant; the run's winner if left out."""
    forced_because: str | None = None
    """Why somebody releases what is not promotable; stamped on the release."""
    config: dict[str, JsonValue] | None = None
    """The pipeline's whole configuration, where the caller has it; it goes into the lineage."""
    code_sha256: str = ""
    """Digest of the source code, so that a changed card is another request."""


class ReleaseInfo(Record):
    """What the manifest of a release says about it."""

    name: str
    """Name of the pipeline."""
    variant: str
    """Name of the variant."""
    run_name: str
    """The run that judged it."""
    mlflow_run_id: str | None
    """Its parent run in MLflow."""
    artifact_digest: str
    """Digest of the artifact that was judged, whose bundle is in it unchanged."""
    verdict: str
    """State of its verdict, pass unless it was released all the same."""
    forced_because: str | None = None
    """Why somebody released it although it was not promotable."""


class SealedRelease(ReleaseInfo, Bundle):
    """A release as its manifest describes it."""


class Release(SealedRelease):
    """A release on disk, of which every byte and the signature were checked."""

    artifact: Artifact
    """The judged artifact, inside the release."""
    key: str | None
    """Fingerprint of the key that signed it; ``None`` where the user accepted it unsigned, by name."""
