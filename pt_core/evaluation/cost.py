"""What one answer of the reference network takes, whatever the machine: parameters and floating-point operations."""

from __future__ import annotations

from typing import NamedTuple

from pt_core.artifacts.artifact import Artifact

_MAX_REASON = 200


class Cost(NamedTuple):
    """Counts of the reference network."""

    num_parameters: int
    """Numbers in its parameters, buffers left out."""
    flops: int | None
    """Operations of the forward pass of one sample, a multiplication and an addition counted as two; those of
    matrix products, convolutions and attention, as torch counts them."""
    reason: str | None
    """Why they could not be counted."""


def cost_of(reference: Artifact) -> Cost:
    """Count on the reference's eager network."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from pt_core.formats.torch_ import load_module

    module = load_module(reference)
    num_parameters = sum(parameter.numel() for parameter in module.parameters())
    sample = torch.zeros((1, *reference.spec.input_shape))
    counter = FlopCounterMode(display=False)
    try:
        with torch.inference_mode(), counter:
            module(sample)
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError) as error:
        reason = f"torch cannot count them: {type(error).__name__}: {' '.join(str(error).split())}"
        return Cost(num_parameters, None, reason[:_MAX_REASON])
    flops = int(counter.get_total_flops())
    if not flops:
        return Cost(
            num_parameters, None, "it has no matrix product, convolution or attention that torch counts"
        )
    return Cost(num_parameters, flops, None)
