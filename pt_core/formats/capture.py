"""Capture a network: example inputs of at least 2 samples, and a program of any batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx import Node

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.plugin import EXPORT_BATCH
from pt_core.artifacts.tensors import read_golden
from pt_core.errors import StepFailed
from pt_core.formats.exported import load_program
from pt_core.formats.refusals import explain, watch_guards
from pt_core.formats.torch_ import load_module
from pt_core.modeling.spec import DynamicAxis

_REFUSALS = (
    torch._dynamo.exc.TorchDynamoException,
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
)
"""What torch.export raises, and what a network's own code does on inputs that are only symbols."""


def example_inputs(source: Artifact) -> torch.Tensor:
    """Return the source's golden inputs, repeated or cut to the export batch: a single one would bake a batch of 1 in."""
    inputs, _ = read_golden(source)
    examples = np.resize(inputs, (EXPORT_BATCH, *source.spec.input_shape))
    return torch.from_numpy(examples.astype(np.float32))


def export_program(source: Artifact) -> ExportedProgram:
    """Return an artifact's network as a torch.export program that takes any batch.

    Args:
        source: of format "torch", captured here; or of format "exported", read as it is.

    Raises:
        StepFailed: the network's code fixes the batch, or holds what torch.export cannot capture.
    """
    if source.format == "exported":
        return load_program(source)
    if source.quantization is not None:
        raise StepFailed(
            f"{source.quantization.scheme}: torch.export cannot capture its packed INT8 layers; "
            "convert it to torchscript, or quantize after the conversion (onnx, onnx-int8-static)"
        )
    program = capture(load_module(source), example_inputs(source), axes=source.spec.dynamic_axes)
    _refuse_state(program)
    return program


def capture(
    network: nn.Module, examples: torch.Tensor, *, axes: tuple[DynamicAxis, ...] = ()
) -> ExportedProgram:
    """Return a module as a torch.export program with a dynamic batch, in the mode that the module is in.

    Args:
        network: what to capture.
        examples: (N, *input_shape) float32 with N above 1.
        axes: axes of one sample that may vary.

    Raises:
        StepFailed: the module's code fixes the batch, or holds what torch.export cannot capture.
    """
    with _quiet_pytrees(), watch_guards() as guards:
        try:
            return torch.export.export(network, (examples,), dynamic_shapes=(_dynamic_shape(axes),))
        except _REFUSALS as error:
            raise StepFailed(explain(error, guards)) from error


def _refuse_state(program: ExportedProgram) -> None:
    """Refuse a network that writes to its own buffers: formats without state would drop that in silence."""
    if not any(_may_write(node) for node in program.graph.nodes):
        return
    # Only a decomposed program says which buffers it writes to.
    with _quiet_pytrees():
        signature = program.run_decompositions({}).graph_signature
    changed = [name.removeprefix("network.") for name in signature.buffers_to_mutate.values()]
    if changed:
        shown = ", ".join(changed[:5]) + (" ..." if len(changed) > 5 else "")
        raise StepFailed(
            f"the network changes its state in each call, in evaluation mode too: {shown}; a BatchNorm is left in "
            "training mode, or its code counts or averages; do that in training mode only (if self.training)"
        )


def _may_write(node: Node) -> bool:
    """Return whether a node writes to what it is given: an operation in place, or a norm in training mode."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    return node.target._schema.is_mutable or ("_norm" in str(node.target) and True in node.args)


def _dynamic_shape(axes: tuple[DynamicAxis, ...]) -> dict[int, Dim]:
    sizes = {axis.axis + 1: Dim(axis.name, min=axis.min, max=axis.max) for axis in axes}
    return {0: Dim("batch"), **sizes}


@contextmanager
def _quiet_pytrees() -> Iterator[None]:
    with warnings.catch_warnings():
        # Raised inside torch by its own use of pytrees.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        yield
