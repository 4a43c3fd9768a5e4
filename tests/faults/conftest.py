"""A checkpoint to damage, and what it is made of."""

from checkpoint_fixtures import checkpoint, golden_inputs, info, network, spec, training_state

__all__ = ["checkpoint", "golden_inputs", "info", "network", "spec", "training_state"]
