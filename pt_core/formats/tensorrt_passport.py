"""Passport: what a TensorRT engine was built from and for, and every reason not to load it somewhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.bundle import hash_file
from pt_core.errors import IntegrityError, StepUnavailable
from pt_core.modeling.spec import ModelSpec
from pt_core.record import Record

ENGINE, PASSPORT = "model.engine", "passport.json"

Flavour = Literal["tensorrt", "tensorrt-rtx"]
"""The two libraries that share one interface, by the names of their distributions."""


class TensorInfo(Record):
    """One input or output of the network."""

    name: str
    """Its name."""
    dtype: str
    """Its type, e.g. "float32"."""
    shape: tuple[int, ...]
    """Its shape; -1 is the dynamic batch."""


class Profile(Record):
    """The optimisation profile: the input shapes that an engine takes."""

    min_shape: tuple[int, ...]
    """Smallest input of one call, the batch first."""
    opt_shape: tuple[int, ...]
    """The input that kernels are chosen for."""
    max_shape: tuple[int, ...]
    """Largest input of one call."""

    @classmethod
    def of(cls, spec: ModelSpec, *, min_batch: int, opt_batch: int, max_batch: int) -> Self:
        """Return the profile of a network's input: every declared dynamic axis over its range."""
        least, most = list(spec.input_shape), list(spec.input_shape)
        for axis in spec.dynamic_axes:
            least[axis.axis], most[axis.axis] = axis.min, axis.max
        return cls(
            min_shape=(min_batch, *least),
            opt_shape=(opt_batch, *spec.input_shape),
            max_shape=(max_batch, *most),
        )

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Smallest, best and largest input."""
        return self.min_shape, self.opt_shape, self.max_shape


class Passport(Record):
    """What an engine was built from and for."""

    flavour: Flavour
    """The library that built it, the only one that loads it."""
    version: str
    """Its version; an engine of another version is not loaded."""
    compute_capabilities: tuple[str, ...]
    """GPU architectures that it runs on, e.g. "8.6"."""
    gpu: str | None
    """The GPU it was built on; ``None`` where it was built ahead of time."""
    precision: Precision
    """Precision of the ONNX graph; the network is strongly typed, so the engine computes in no other."""
    onnx_sha256: dict[str, str]
    """SHA-256 of each file of the ONNX graph that it was built from, which lie beside it."""
    engine_sha256: str
    """SHA-256 of the engine."""
    engine_bytes: int = Field(gt=0)
    """Its size."""
    profile: Profile
    """Input shapes that it takes."""
    inputs: tuple[TensorInfo, ...]
    """Inputs of the network as it was parsed."""
    outputs: tuple[TensorInfo, ...]
    """Outputs of the network as it was parsed."""
    num_layers: int = Field(gt=0)
    """Layers of the network as it was parsed."""
    workspace_bytes: int
    """Scratch memory that its kernels were allowed."""

    @property
    def library(self) -> str:
        """The library that built it and its version."""
        return f"{self.flavour} {self.version}"

    @property
    def architectures(self) -> str:
        """The GPU architectures as compilers name them, e.g. "sm_86, sm_89"."""
        return ", ".join(f"sm_{capability.replace('.', '')}" for capability in self.compute_capabilities)


def remedy(artifact: Artifact) -> str:
    """Return how to get an engine that fits."""
    return f"rebuild it from the ONNX in the same bundle: pt-pipeline rebuild {artifact.directory}"


def read_passport(artifact: Artifact) -> Passport:
    """Return an artifact's passport, after comparing it with the manifest's copy and with the files it names.

    Raises:
        IntegrityError: it is missing or malformed, differs from the manifest's, or names another engine or ONNX.
    """
    folder = Path(artifact.directory)
    path = folder / PASSPORT
    try:
        passport = Passport.from_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise IntegrityError(f"{path}: no readable passport: {error}"[:1000]) from error
    found = passport.model_dump(mode="json")
    problems = [
        f"{key}: {value!r} in {PASSPORT}, {(artifact.passport or found).get(key)!r} in the manifest"
        for key, value in found.items()
        if artifact.passport is not None and artifact.passport.get(key) != value
    ]
    expected = {ENGINE: passport.engine_sha256, **passport.onnx_sha256}
    for name, sha256 in expected.items():
        observed = hash_file(folder / name) if (folder / name).is_file() else None
        if observed != sha256:
            problems.append(
                f"{name}: SHA-256 {(observed or 'missing')[:12]}, the passport says {sha256[:12]}"
            )
    if problems:
        raise IntegrityError(
            f"{folder}: the engine's passport does not fit its bundle; {remedy(artifact)}", details=problems
        )
    return passport


def check_library(passport: Passport, artifact: Artifact, *, installed: str | None) -> None:
    """Refuse an engine of another library or version than the installed one.

    Raises:
        StepUnavailable: naming both, and the remedy.
    """
    if installed != passport.library:
        raise StepUnavailable(
            f"{artifact.directory}: the engine was built by {passport.library}, installed is "
            f"{installed or f'no {passport.flavour}'}, and engines of another version do not load; {remedy(artifact)}"
        )


def check_gpu(passport: Passport, artifact: Artifact, *, gpu: str, capability: str) -> None:
    """Refuse an engine that was not built for this GPU's architecture.

    Raises:
        StepUnavailable: naming both, and the remedy.
    """
    if capability not in passport.compute_capabilities:
        raise StepUnavailable(
            f"{artifact.directory}: the engine was built for {passport.architectures}, {gpu} is "
            f"sm_{capability.replace('.', '')}; {remedy(artifact)}"
        )
