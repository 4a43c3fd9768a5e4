"""Networks with batch normalisations that must not be folded, or not be folded everywhere."""

from __future__ import annotations

import torch
from torch import nn


class Shapes(nn.Module):
    """One of each: what may be folded, and all that looks like it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_called_last = nn.BatchNorm2d(4)
        self.plain = nn.Conv2d(1, 4, 3, padding=1)
        self.early_norm = nn.BatchNorm2d(4)
        self.declared_before = nn.Conv2d(4, 4, 1, bias=False)
        self.read_twice = nn.Conv2d(4, 4, 1)
        self.norm_of_read_twice = nn.BatchNorm2d(4)
        self.called_twice = nn.Conv2d(4, 4, 1)
        self.norm_called_twice = nn.BatchNorm2d(4)
        self.behind_relu = nn.Conv2d(4, 4, 1)
        self.norm_behind_relu = nn.BatchNorm2d(4)
        self.of_the_batch = nn.Conv2d(4, 4, 1)
        self.norm_of_the_batch = nn.BatchNorm2d(4, track_running_stats=False)
        self.rows = nn.Linear(8, 4)
        self.norm_of_rows = nn.BatchNorm1d(4)
        self.dense = nn.Linear(16, 10)
        self.norm_of_dense = nn.BatchNorm1d(10, affine=False)
        self.tied = nn.Linear(10, 10)
        self.norm_of_tied = nn.BatchNorm1d(10)
        self.also_tied = nn.Linear(10, 10)
        self.also_tied.weight = self.tied.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # In the order of modules early_norm follows plain; in the order of calls norm_called_last does.
        x = self.norm_called_last(self.plain(x))
        x = self.declared_before(self.early_norm(x))
        read = self.read_twice(x)
        x = self.norm_of_read_twice(read) + read
        for _ in range(2):
            x = self.norm_called_twice(self.called_twice(x))
        x = self.norm_behind_relu(self.behind_relu(x).relu())
        x = self.norm_of_the_batch(self.of_the_batch(x))
        x = x.mean(dim=2)
        x = self.norm_of_rows(self.rows(x)).flatten(1)
        x = self.norm_of_dense(self.dense(x))
        return self.also_tied(self.norm_of_tied(self.tied(x)))


class Sensitive(nn.Module):
    """A normalisation that cancels a large bias: folded it is exact, and unfolded it is rounding noise."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.norm = nn.BatchNorm1d(10, eps=1e-12)
        nn.init.uniform_(self.linear.weight, 0, 1e-6)
        nn.init.constant_(self.linear.bias, 1000.0)
        nn.init.constant_(self.norm.running_mean, 1000.0)
        nn.init.constant_(self.norm.running_var, 1e-12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(x.flatten(1)))
