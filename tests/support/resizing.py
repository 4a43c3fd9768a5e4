"""Networks that take pictures of other sizes than they were trained with, or say so and do not."""

from __future__ import annotations

import torch
from torch import nn


class Pools(nn.Module):
    """Takes any height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, kernel_size=3)
        self.last = nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.conv(x).relu().mean(dim=(2, 3)))


class DividesByHeight(Pools):
    """Takes any height, as a Python number that a graph keeps."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (1 + 1 / float(x.shape[2]))


class HasAFixedHead(nn.Module):
    """Takes 64 pixels and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1))
