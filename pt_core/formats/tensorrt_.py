"""Format "tensorrt": an engine for NVIDIA GPUs built from the ONNX graph, which is kept beside it with a passport."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.artifacts.plugin import Inspection, Predictor
from pt_core.errors import IntegrityError, StepUnavailable
from pt_core.formats.tensorrt_library import choose_flavour, find_gpu, installed_library, why_no_library
from pt_core.formats.tensorrt_passport import (
    Passport,
    Profile,
    check_gpu,
    check_library,
    read_passport,
    remedy,
)
from pt_core.record import Record

Capability = Annotated[
    Literal["7.5", "8.0", "8.6", "8.9", "12.0", "12.1"],
    # YAML reads 8.6 as a number.
    BeforeValidator(lambda value: str(value) if isinstance(value, float) else value),
]


class TensorRTFormat(Record):
    """TensorRT, or TensorRT for RTX, by way of ONNX."""

    name: ClassVar[str] = "tensorrt"
    is_program: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("onnx",)
    precision: ClassVar[Precision | None] = None

    min_batch: int = Field(default=1, ge=1)
    """Smallest batch of one call; a smaller one is filled up."""
    opt_batch: int = Field(default=8, ge=1)
    """The batch that kernels are chosen for."""
    max_batch: int = Field(default=64, ge=1)
    """Largest batch of one call; a larger one runs in parts."""
    workspace_bytes: int = Field(default=2**30, ge=2**20)
    """GPU memory that one kernel may use as scratch."""
    compute_capabilities: tuple[Capability, ...] = Field(default=("8.6", "8.9"), min_length=1)
    """GPU architectures to build for where no NVIDIA GPU is at hand; with one, the engine is for that GPU."""

    @model_validator(mode="after")
    def _batches_in_order(self) -> Self:
        if not self.min_batch <= self.opt_batch <= self.max_batch:
            raise ValueError(
                f"min_batch {self.min_batch}, opt_batch {self.opt_batch}, max_batch {self.max_batch}: "
                "expected them in ascending order"
            )
        return self

    def unavailable(self) -> str | None:
        """Return which library this machine lacks and how to get it, if any."""
        return why_no_library()

    def convert(self, source: Artifact, destination: Path) -> None:
        """Build the engine for the GPU at hand, or ahead of time for ``compute_capabilities``.

        Raises:
            StepFailed: the parser refused a node, or the network could not be built.
        """
        from pt_core.formats.tensorrt_build import build

        flavour = choose_flavour()
        assert flavour is not None, "unavailable() was asked before"
        build(
            source,
            destination,
            flavour=flavour,
            profile=Profile.of(
                source.spec, min_batch=self.min_batch, opt_batch=self.opt_batch, max_batch=self.max_batch
            ),
            workspace_bytes=self.workspace_bytes,
            compute_capabilities=self.compute_capabilities,
        )

    def load(self, artifact: Artifact, device: str) -> Predictor:
        """Deserialise the engine on the first NVIDIA GPU; arrays stay on the host, so "cpu" and "cuda" are alike.

        Raises:
            IntegrityError: the passport does not fit the engine, the ONNX or the manifest.
            StepUnavailable: the library, its version or the GPU is another one, or there is no GPU.
        """
        passport = self._checked_passport(artifact)
        gpu = find_gpu()
        if gpu:
            check_gpu(passport, artifact, gpu=gpu.name, capability=gpu.capability)
        reason = self.not_runnable(artifact)
        if gpu is None or reason:
            raise StepUnavailable(
                f"{artifact.directory}: {reason}; {remedy(artifact)} on the GPU it is to run on"
            )
        from pt_core.formats.tensorrt_predictor import TensorRTPredictor

        return TensorRTPredictor(artifact, passport, gpu=gpu)

    def not_runnable(self, artifact: Artifact) -> str | None:
        """Return why the engine cannot run here, or ``None``."""
        passport = read_passport(artifact)
        built = f"built for {passport.architectures} by {passport.library}"
        gpu = find_gpu()
        if gpu is None:
            return f"{built}; there is no NVIDIA GPU here to run it"
        import torch

        if not torch.cuda.is_available():
            return (
                f"{built}; torch {torch.__version__} cannot use the {gpu.name} here, install its CUDA build"
            )
        return None

    def inspect(self, artifact: Artifact) -> Inspection:
        """Check what needs no GPU: digests, the library, the engine's header, the network parsed again, the profile.

        Raises:
            IntegrityError: something is not what the passport says.
            StepUnavailable: the installed library is not the one that built the engine.
        """
        from pt_core.formats.tensorrt_inspect import inspect_engine

        passport = self._checked_passport(artifact)
        checks = inspect_engine(artifact, passport)
        return Inspection(passport=passport.model_dump(mode="json"), checks=checks)

    def _checked_passport(self, artifact: Artifact) -> Passport:
        passport = read_passport(artifact)
        if passport.precision != artifact.precision:
            raise IntegrityError(
                f"{artifact.directory}: the engine computes in {passport.precision}, the manifest says "
                f"{artifact.precision}; {remedy(artifact)}"
            )
        check_library(passport, artifact, installed=installed_library(passport.flavour))
        return passport
