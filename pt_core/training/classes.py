"""Classes of unequal size: weights in the loss, and an order that shows every class equally often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from pt_core.errors import ConfigError


def class_weights(
    choice: Literal["balanced"] | Sequence[float] | None, y: torch.Tensor, *, num_classes: int
) -> torch.Tensor | None:
    """Return the weight of each class, (num_classes,) float32, whose mean over the samples is 1.

    Args:
        choice: "balanced" for the inverse of each class's frequency, the weights, or ``None`` for none.
        y: (N,) int64 class numbers of the training split.
        num_classes: how many classes there are.

    Raises:
        ConfigError: there is not one weight for each class.
    """
    if choice is None:
        return None
    counts = torch.bincount(y, minlength=num_classes).double()
    # "balanced" holds as scikit-learn's: N / (num_classes * count).
    weights = 1 / counts.clamp(min=1) if choice == "balanced" else torch.tensor(choice, dtype=torch.float64)
    if len(weights) != num_classes:
        raise ConfigError(
            f"train.class_weights: {len(weights)} numbers, but the data has {num_classes} classes; give one for each"
        )
    return (weights * len(y) / (weights * counts).sum()).float()


def balanced_order(y: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    """Return N row numbers, (N,) int64: each draws a class that occurs, then one of its samples, with replacement."""
    by_class = torch.argsort(y, stable=True)
    counts = torch.bincount(y)
    counts = counts[counts > 0]
    starts = counts.cumsum(0) - counts
    drawn = torch.randint(len(counts), (len(y),), generator=generator)
    within = (torch.rand(len(y), generator=generator, dtype=torch.float64) * counts[drawn]).long()
    return by_class[starts[drawn] + within]


def showings(order: torch.Tensor, *, num_samples: int) -> torch.Tensor:
    """Return an order, (N,) int64, with ``num_samples`` added to a row for each time that it stands there before."""
    by_row = torch.argsort(order, stable=True)
    counts = torch.bincount(order, minlength=num_samples)
    first = counts.cumsum(0) - counts
    before = torch.empty_like(order)
    before[by_row] = torch.arange(len(order)) - first[order[by_row]]
    return order + num_samples * before
