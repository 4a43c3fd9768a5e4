"""The protocols of plugins: Format, Rewrite, Quantizer, and the Predictor that every format loads to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import JsonValue

from pt_core.artifacts.artifact import Artifact, Precision, Quantization
from pt_core.record import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pt_core.data.dataset import Samples

Needs = Literal["nothing", "calibration", "training"]

EXPORT_BATCH = 8
"""Samples of the example that converters trace or export with; parity compares at this size and at others."""

INPUT_NAME, OUTPUT_NAME = "input", "logits"
"""What the input and the output are called in every format that names them."""


class StepData(NamedTuple):
    """The samples that a quantizer may read, memory-mapped; never the test split."""

    calibration: Samples
    """For ranges of activations, and to measure what a choice costs."""
    training: Samples | None
    """To train on; ``None`` unless the quantizer needs "training"."""


class RuntimeInfo(Record):
    """What really executes a predictor, as its runtime reports it."""

    runtime: str
    """Library and version."""
    provider: str
    """Execution provider or backend in use."""
    num_threads: int
    """Threads of one inference."""
    inputs: tuple[str, ...] = ()
    """Names of its inputs, where the runtime names them."""
    outputs: tuple[str, ...] = ()
    """Names of its outputs, where the runtime names them."""
    setting: str | None = None
    """The setting it is pinned to, where the format has :class:`Settings`."""
    instruction_set: str | None = None
    """Instruction set of the kernels it chose; ``None`` where the runtime does not tell."""
    num_nodes: int | None = None
    """Nodes of the graph, or layers, as they are written in the artifact; ``None`` where nobody can count them."""
    num_nodes_optimized: int | None = None
    """How many of them are left to execute after fusion and graph optimisation."""


@runtime_checkable
class Predictor(Protocol):
    """A loaded artifact: (N, *input_shape) float32 -> (N, num_classes) float32 logits, deterministic, no gradients."""

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits of a batch of raw inputs (pixels in [0, 1], table columns as numbers)."""
        ...

    def runtime(self) -> RuntimeInfo:
        """Return what really executes this predictor."""
        ...


@runtime_checkable
class Format(Protocol):
    """One deployable format: a frozen record whose fields are its options.

    Its class variable ``is_program`` says whether loading runs code that is in its files, as with an engine, and
    not only reads numbers, as with ONNX. One without it counts as a program: from outside a run such an artifact
    loads only if a trusted key signed it. ``calls_target`` says that the network is built by the function that its
    spec names: that is a program too, unless the function is one of ours.
    """

    @property
    def name(self) -> str:
        """The format's name, also the name of the step that makes it."""
        ...

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the formats it converts from."""
        ...

    @property
    def precision(self) -> Precision | None:
        """Precision of what it writes; ``None`` keeps the source's."""
        ...

    def unavailable(self) -> str | None:
        """Return why this machine cannot use it and what to install, or ``None``."""
        ...

    def convert(self, source: Artifact, destination: Path) -> None:
        """Write the payload files into ``destination``, an empty staging directory."""
        ...

    def load(self, artifact: Artifact, device: str) -> Predictor:
        """Load an artifact of this format whose bytes were checked."""
        ...


@runtime_checkable
class Settings(Protocol):
    """A format whose runtime can execute one artifact in several ways; ``load`` uses the one that is pinned in it."""

    def settings(self) -> tuple[str, ...]:
        """Return every setting as "option=value", least optimised first; ``option`` is an option of the format."""
        ...

    def pinned_setting(self, artifact: Artifact) -> str:
        """Return the setting that the artifact's bundle pins."""
        ...

    def load_with(self, artifact: Artifact, device: str, setting: str) -> Predictor:
        """Load like :meth:`Format.load`, with another setting than the pinned one."""
        ...


class Inspection(Record):
    """What is known of an artifact without running it."""

    passport: dict[str, JsonValue]
    """What it was built by and for; it goes into the manifest."""
    checks: tuple[str, ...]
    """What was checked, one sentence each."""


@runtime_checkable
class DeviceBound(Protocol):
    """A format whose artifacts are built for a kind of device, so that one may be built where it cannot run.

    Its ``convert`` copies the files of its source, so that the artifact can be built again for another device.
    """

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the formats it converts from; the files of the first are in its bundle."""
        ...

    def unavailable(self) -> str | None:
        """Return why this machine cannot use it and what to install, or ``None``."""
        ...

    def inspect(self, artifact: Artifact) -> Inspection:
        """Check all that can be checked without running it.

        Raises:
            IntegrityError: it is not what its passport says.
        """
        ...

    def not_runnable(self, artifact: Artifact) -> str | None:
        """Return why this machine cannot run an artifact, or ``None``."""
        ...


@runtime_checkable
class Rewrite(Protocol):
    """A step that writes the same network in another form of a format: another precision, or fewer nodes."""

    @property
    def name(self) -> str:
        """The step's name."""
        ...

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the formats it reads."""
        ...

    @property
    def target(self) -> str:
        """Name of the format it writes."""
        ...

    @property
    def precision(self) -> Precision | None:
        """Precision of what it writes; ``None`` keeps the source's."""
        ...

    def unavailable(self) -> str | None:
        """Return why this machine cannot use it and what to install, or ``None``."""
        ...

    def rewrite(self, source: Artifact, destination: Path) -> None:
        """Write the payload files into ``destination``, an empty staging directory."""
        ...


@runtime_checkable
class Quantizer(Protocol):
    """One way to INT8: a frozen record whose fields are its options."""

    @property
    def name(self) -> str:
        """The step's name."""
        ...

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the formats it reads."""
        ...

    @property
    def target(self) -> str:
        """Name of the format it writes."""
        ...

    @property
    def needs(self) -> Needs:
        """What data it needs."""
        ...

    def unavailable(self) -> str | None:
        """Return why this machine cannot use it and what to install, or ``None``."""
        ...

    def quantize(self, source: Artifact, destination: Path, data: StepData | None) -> Quantization:
        """Write the quantized payload into ``destination``; ``data`` is ``None`` where it needs "nothing".

        Raises:
            NothingQuantized: no layer became INT8.
        """
        ...


Plugin = Format | Rewrite | Quantizer
"""One step of a chain."""
