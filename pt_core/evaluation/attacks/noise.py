"""Perturb samples by chance alone: Gaussian noise, and values that are missing from a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pt_core.evaluation.attacks.bounds import Bounds, clip

MISSING_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Share of a table's values that is missing, at severities 1 to 5."""


def gaussian_noise(
    x: NDArray[np.float32], *, sigmas: Sequence[float], bounds: Bounds, generator: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Return ``clip(x + sigma * scale * noise)`` for every sigma, all from the same draw of the noise."""
    noise = generator.standard_normal(x.shape, dtype=np.float32) * bounds.scale
    return [clip(x + np.float32(sigma) * noise, bounds) for sigma in sigmas]


def missing_values(
    x: NDArray[np.float32],
    *,
    severities: Sequence[int],
    replacement: NDArray[np.float32],
    generator: np.random.Generator,
) -> list[NDArray[np.float32]]:
    """Return the table with values missing at random, each replaced by its column's ``replacement``.

    All severities rest on one draw, so that what is missing at one is missing at every higher one.
    """
    draw = generator.random(x.shape, dtype=np.float32)
    return [np.where(draw < MISSING_SHARES[severity - 1], replacement, x) for severity in severities]
