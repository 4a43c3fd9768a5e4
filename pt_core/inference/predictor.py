"""Load any artifact to a Predictor, after checking every byte of it."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.plugin import Predictor, RuntimeInfo
from pt_core.artifacts.registry import make_format
from pt_core.bundle import check_digest
from pt_core.errors import StepUnavailable
from pt_core.modeling.spec import ModelSpec

_MAX_BATCH = 256
_MAX_VALUES = 2**22


@runtime_checkable
class CountsNodes(Protocol):
    """A predictor whose nodes take so long to count that ``runtime`` leaves them out."""

    def count_nodes(self) -> tuple[int, int]:
        """Return the nodes as they are written, and as they are executed."""
        ...


def load_predictor(artifact: Artifact, device: str = "cpu") -> Predictor:
    """Return the artifact as (N, *input_shape) float32 -> (N, num_classes) float32 logits.

    Raises:
        IntegrityError: its bytes are not those that the record names.
        StepUnavailable: this machine lacks the format's runtime.
    """
    check_digest(artifact)
    plugin = make_format(artifact.format)
    # Not asked first what is unavailable: a machine without a compiler runs what another one compiled.
    try:
        return plugin.load(artifact, device)
    except ImportError as error:
        raise StepUnavailable(f"{artifact.format}: {plugin.unavailable() or error}") from error


def describe_runtime(predictor: Predictor) -> RuntimeInfo:
    """Return what really executes a predictor, with its nodes counted; may take as long as loading it."""
    found = predictor.runtime()
    if not isinstance(predictor, CountsNodes):
        return found
    written, executed = predictor.count_nodes()
    return found.model_copy(update={"num_nodes": written, "num_nodes_optimized": executed})


def batch_size(spec: ModelSpec) -> int:
    """Return how many samples are predicted in one call, so that any number of them needs bounded memory.

    Where it matters, as for activations that are scaled by the batch they are in, it is part of the answer: whatever
    predicts the same rows cuts them at multiples of it.
    """
    return max(1, min(_MAX_BATCH, _MAX_VALUES // math.prod(spec.input_shape)))
