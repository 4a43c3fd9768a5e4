"""The optional protocols of formats whose artifacts can be opened layer by layer, to find where two of them differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from pt_core.artifacts.artifact import Artifact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOGITS = "logits"
"""Name of the last layer that every opening gives."""


class Layer(NamedTuple):
    """What one layer of a network computed for a batch."""

    name: str
    """Path of the module in the network's code, e.g. ``network.0.3``; with ``/add`` for an operation in its own code."""
    kind: str
    """Class of the module, or the operation."""
    call: int
    """Which of its calls this is, from 0 on."""
    num_calls: int
    """How often the program as it was written calls it; layers are only compared where this agrees."""
    value: NDArray[np.float32]
    """Its output."""


class Opening(NamedTuple):
    """One way to run an artifact that shows its layers."""

    label: str
    """What is run, e.g. ``onnx`` or ``onnx as optimised``."""
    layers: Callable[[NDArray[np.float32]], Iterator[Layer]]
    """From (N, *input_shape) raw inputs to layers in the order of their execution, :data:`LOGITS` the last.

    May raise what :meth:`pt_core.artifacts.plugin.Predictor.logits` raises.
    """


@runtime_checkable
class OpensLayers(Protocol):
    """A format whose artifacts can be opened."""

    def open_layers(self, artifact: Artifact, ancestors: tuple[Artifact, ...]) -> tuple[Opening, ...]:
        """Return the ways to open an artifact, as it was written first and as it is executed last.

        Args:
            artifact: of this format, its bytes checked.
            ancestors: what it was built from, the reference first; names of layers may come from there.

        Raises:
            StepFailed: this one cannot be opened; the message says why.
        """
        ...


@runtime_checkable
class PassesThrough(Protocol):
    """A format that is converted to by way of others, which stay in memory."""

    @property
    def through(self) -> tuple[str, ...]:
        """Names of those formats, in order."""
        ...
