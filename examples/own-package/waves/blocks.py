"""The residual block that the network is made of."""

from __future__ import annotations

import torch
from torch import nn


class ResidualBlock(nn.Module):
    """Two convolutions, and what came in added to what goes out."""

    def __init__(self, width: int) -> None:
        """Keep the number of channels."""
        super().__init__()
        self.first = nn.Conv1d(width, width, kernel_size=5, padding=2, bias=False)
        self.first_norm = nn.BatchNorm1d(width)
        self.second = nn.Conv1d(width, width, kernel_size=5, padding=2, bias=False)
        self.second_norm = nn.BatchNorm1d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, width, length) of the same shape."""
        hidden = self.first_norm(self.first(x)).relu()
        return (x + self.second_norm(self.second(hidden))).relu()
