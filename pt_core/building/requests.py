"""What building one step is asked, apart from the code so that asking imports nothing heavy."""

from __future__ import annotations

from pydantic import JsonValue

from pt_core.artifacts.artifact import Artifact, Parity, Quantization, Step
from pt_core.data.dataset import Dataset
from pt_core.keys import Keys
from pt_core.record import Record


class StepRequest(Record):
    """Run one step on one artifact."""

    source: Artifact
    """What the step reads; for the root, :func:`pt_core.building.build.checkpoint_source`."""
    reference: Artifact | None
    """What the result must agree with; ``None`` only for the root, which replays its checkpoint's outputs."""
    step: Step
    """The step."""
    dataset: Dataset | None
    """Its calibration split calibrates and is compared on; without one golden inputs are compared on."""
    store: str
    """Folder that the artifact is written into."""
    code_sha256: str = ""
    """Digest of the step's source code, so that an edited plugin is a different request."""
    signing_keys: Keys | None = None
    """Where the key that signs the artifact is; without, it is not signed, and a program loads inside its run only."""


class ConvertRequest(Record):
    """Write the payload of one step."""

    source: Artifact
    """What the step reads."""
    step: Step
    """The step."""
    dataset: Dataset | None
    """Where calibration samples come from."""
    destination: str
    """Empty staging directory."""


class Conversion(Record):
    """What a step wrote."""

    payload: tuple[str, ...]
    """Its files, relative to the staging directory."""
    payload_bytes: int
    """Their size together."""
    quantization: Quantization | None
    """What became INT8, if the step quantizes."""


class CheckRequest(Record):
    """Reload a staged artifact and compare it."""

    staged: Artifact
    """The artifact as it will be, its directory the staging one and its digest not known yet."""
    source: Artifact
    """What the step read."""
    reference: Artifact | None
    """What the result must agree with; ``None`` for the root."""
    dataset: Dataset | None
    """Where the samples to compare on come from."""


class CheckResult(Record):
    """A staged artifact that agrees with its reference, or that cannot be run here."""

    parity: Parity | None
    """How well it agrees; ``None`` for the root and for what cannot be run."""
    passport: dict[str, JsonValue] | None = None
    """What it was built by and for, where its format has a passport."""
    checks: tuple[str, ...] = ()
    """What was checked without running it."""
    not_run: str | None = None
    """Why it cannot be run here."""
