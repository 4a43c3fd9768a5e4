"""The network: from (N, length) waves to (N, num_classes) logits."""

from __future__ import annotations

import torch
from torch import nn

from waves.blocks import ResidualBlock


class WaveNetwork(nn.Module):
    """A stem, residual blocks, the mean over time and a linear layer."""

    def __init__(self, *, num_classes: int, width: int, num_blocks: int) -> None:
        """Build the layers."""
        super().__init__()
        self.stem = nn.Conv1d(1, width, kernel_size=7, stride=2, padding=3)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(num_blocks))
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = self.stem(x[:, None]).relu()
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=2))


def build(num_classes: int, width: int = 32, num_blocks: int = 4) -> nn.Module:
    """Return the network; ``num_classes`` is filled in from the data, the rest from pipeline.yaml."""
    return WaveNetwork(num_classes=num_classes, width=width, num_blocks=num_blocks)
