"""Networks that work in eager PyTorch and that converters break, most of them without a word."""

from __future__ import annotations

import time

import torch
from torch import nn


class _Digits(nn.Module):
    """One linear layer from 64 pixels to 10 classes, for what a network does beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)


class DividesByBatch(_Digits):
    """Arithmetic on the batch size, as a Python number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1)) * (1 + 1 / float(x.shape[0]))


class RollsByHalfABatch(_Digits):
    """Integer division of the batch size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.linear(x.flatten(1))
        return logits + 0.1 * logits.roll(x.shape[0] // 2, 0)


class SplitsBatch(_Digits):
    """Integer division of the batch size, as the place of a cut."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[0] // 2
        logits = self.linear(x.flatten(1))
        return torch.cat([logits[:half] * 2, logits[half:]])


class CentresLargeBatches(_Digits):
    """A branch on the batch size that exporters take to be above 1 in silence."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        if x.shape[0] > 1:
            x = x - x.mean(dim=0)
        return self.linear(x)


class DoublesSmallBatches(_Digits):
    """A branch on the batch size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        if x.shape[0] < 4:
            x = x * 2
        return self.linear(x)


class ReshapesToBatch(_Digits):
    """A reshape with a baked batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.reshape(int(x.shape[0]), 64))


class LoopsOverRows(_Digits):
    """A loop over the batch, unrolled for the example's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.linear(row) for row in x.flatten(1)])


class NumbersRows(_Digits):
    """A constant tensor of the batch's size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = torch.zeros(int(x.shape[0]), 1) + torch.arange(int(x.shape[0]))[:, None]
        return self.linear(x.flatten(1) + 0.1 * rows)


class CachesPositions(_Digits):
    """A tensor of the batch's size that is kept for the next batch of it."""

    def __init__(self) -> None:
        super().__init__()
        self.by_size: dict[int, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[0]
        if size not in self.by_size:
            self.by_size[size] = 0.1 * torch.arange(size)[:, None]
        return self.linear(x.flatten(1) + self.by_size[size])


class BranchesOnData(_Digits):
    """A branch on a value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        x = x * 2 if x.mean() > 0 else x - 1
        return self.linear(x)


class LoopsOnData(_Digits):
    """A loop that ends on a value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        for _ in range(10):
            if x.abs().max() <= 1:
                break
            x = x * 0.7
        return self.linear(x)


class ScalesByFloat(_Digits):
    """A Python float made of a tensor."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1) / (1 + float(x.abs().max())))


class CutsByItem(_Digits):
    """A size that is made of a value by ``.item()``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        kept = 32 + int(x[0].abs().sum().item()) % 16
        return self.linear(torch.cat([x[:, :kept], torch.zeros(x.shape[0], 64 - kept)], dim=1))


class RoundsInNumpy(_Digits):
    """A detour by NumPy, which no tracer follows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.linear(x.flatten(1))
        return logits + torch.from_numpy(logits.detach().numpy().round())


class CountsCalls(_Digits):
    """State that changes between calls, in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.linear(x.flatten(1)) + 0.1 * self.calls * torch.arange(10)


class CountsInPython(_Digits):
    """State that changes between calls, in an attribute."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.linear(x.flatten(1)) + 0.1 * self.calls * torch.arange(10)


CALLS: list[int] = []


class CountsInAGlobal(_Digits):
    """State that changes between calls, in a list of its module."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        CALLS.append(len(x))
        return self.linear(x.flatten(1)) * (1 + 0.1 * (len(CALLS) % 7))


class ReadsTheClock(_Digits):
    """State from outside."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1)) * (1 + time.perf_counter() % 1)


class CachesItsFirstBatch(_Digits):
    """An intermediate of the first call, kept in a list for all later ones."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        if not self.seen:
            self.seen.append(x.mean(dim=0).detach())
        return self.linear(x - self.seen[0])


class BatchNormLeftTraining(nn.Module):
    """A BatchNorm that is in training mode whatever it is told: it changes its state in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, kernel_size=3)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Linear(144, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.norm.train()
        return self.last(self.norm(self.conv(x)).relu().flatten(1))


class LeavesDropoutOn(_Digits):
    """Dropout in evaluation mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(nn.functional.dropout(x.flatten(1), training=True))


class AddsNoise(_Digits):
    """Noise in evaluation mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        return self.linear(x + 0.5 * torch.randn_like(x))


class WritesToItsInput(_Digits):
    """Changes its input in place: right everywhere, because every predictor works on a copy."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x -= 0.5
        return self.linear(x.flatten(1))


class PicksRows(_Digits):
    """Rows by ``nonzero`` and by a mask: a size that depends on values, which export can express."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.linear(x.flatten(1))
        rows = torch.nonzero(logits.sum(dim=1) > 0).squeeze(1)
        doubled = torch.zeros_like(logits)
        doubled[rows] = logits[rows] * 2
        return doubled.masked_fill(logits < -1, -1.0)
