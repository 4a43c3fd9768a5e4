"""A network whose gradients overflow in half precision until the scaler has found its scale."""

from __future__ import annotations

import torch
from torch import nn


class Loud(nn.Module):
    """An MLP with dropout and batch statistics, with a layer a hundred times too loud."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 32)
        self.norm = nn.BatchNorm1d(32)
        self.dropout = nn.Dropout(0.2)
        self.last = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.first(x.flatten(1) * 10)).relu()
        return self.last(self.dropout(hidden) * 100) / 10
