"""Bounds: the unit of an attack's strength, and the range that perturbed samples stay in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.data.dataset import Dataset


class Bounds(NamedTuple):
    """What limits a perturbation."""

    scale: NDArray[np.float32]
    """One unit of strength, broadcast over a sample: the width of the range, or deviations for tables."""
    input_range: tuple[float, float] | None
    """Perturbed samples are clipped to this; ``None`` does not clip."""


def bounds_of(dataset: Dataset) -> Bounds:
    """Return a dataset's range in units of its width, or no range in units of each column's deviation."""
    std = per_channel(dataset.std, dataset)
    if dataset.input_range is None:
        return Bounds(std, None)
    least, greatest = dataset.input_range
    return Bounds(np.full_like(std, greatest - least), dataset.input_range)


def per_channel(values: tuple[float, ...], dataset: Dataset) -> NDArray[np.float32]:
    """Return one value per channel or column as float32, shaped to broadcast over a sample."""
    trailing = (1,) * (len(dataset.input_shape) - 1)
    return np.asarray(values, dtype=np.float32).reshape(-1, *trailing)


def clip(x: NDArray[np.float32], bounds: Bounds) -> NDArray[np.float32]:
    """Return the samples within the legal range."""
    if bounds.input_range is None:
        return x
    least, greatest = (np.float32(bound) for bound in bounds.input_range)
    return np.clip(x, least, greatest)


def box(
    x: NDArray[np.float32], epsilon: float, bounds: Bounds
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the least and the greatest legal values within ``epsilon`` units of every value."""
    reach = np.float32(epsilon) * bounds.scale
    return clip(x - reach, bounds), clip(x + reach, bounds)
