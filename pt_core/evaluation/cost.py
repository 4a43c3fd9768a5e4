"""What one answer of the reference network takes, whatever the machine: parameters and floating-point operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pt_core.artifacts.artifact import Artifact

if TYPE_CHECKING:
    from pt_core.modeling.cost import Cost


def cost_of(reference: Artifact) -> Cost:
    """Count on the reference's eager network."""
    from pt_core.formats.torch_ import load_module
    from pt_core.modeling.cost import network_cost

    return network_cost(load_module(reference), input_shape=reference.spec.input_shape)
