"""Capture the network of a "torch" artifact: example inputs of at least 2 samples, and a program of any batch."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch.export import Dim, ExportedProgram

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.tensors import read_golden
from pt_core.errors import StepFailed
from pt_core.formats.torch_ import load_module

_MAX_EXAMPLES = 8


def example_inputs(source: Artifact) -> torch.Tensor:
    """Return 2 to 8 of the source's golden inputs: tracing a single sample would bake its batch of 1 in."""
    inputs, _ = read_golden(source)
    examples = np.resize(inputs, (max(2, min(len(inputs), _MAX_EXAMPLES)), *source.spec.input_shape))
    return torch.from_numpy(examples.astype(np.float32))


def export_program(source: Artifact) -> ExportedProgram:
    """Return the network as a torch.export program that takes any batch.

    Raises:
        StepFailed: the network's code fixes the batch, or holds what torch.export cannot capture.
    """
    if source.quantization is not None:
        raise StepFailed(
            f"{source.quantization.scheme}: torch.export cannot capture its packed INT8 layers; "
            "convert it to torchscript, or quantize after the conversion (onnx, onnx-int8-static)"
        )
    with warnings.catch_warnings():
        # Raised inside torch by its own use of pytrees.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        try:
            return torch.export.export(
                load_module(source), (example_inputs(source),), dynamic_shapes=({0: Dim("batch")},)
            )
        except torch._dynamo.exc.UserError as error:
            raise StepFailed(f"torch.export refused the network: {str(error)[:1000]}") from error
