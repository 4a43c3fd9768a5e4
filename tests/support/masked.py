"""A network whose gradients vanish though its answers do not: softmax of logits so large that it saturates."""

from __future__ import annotations

import torch
from torch import nn


class Masked(nn.Linear):
    """A linear layer whose output is squeezed to the corners of the simplex; the prediction stays the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return probabilities for logits: 1 for the predicted class and 0 for the rest, to the last bit."""
        return torch.softmax(1e3 * super().forward(x), dim=1)


def masked(in_features: int, out_features: int) -> nn.Module:
    """Return the network; its weights have the names of a linear layer's."""
    return Masked(in_features, out_features)
