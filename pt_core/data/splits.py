"""Split samples by id into four disjoint parts, each class in every part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pt_core.data.config import SPLITS, DataConfig, SplitName

MIN_SAMPLES_PER_CLASS = len(SPLITS)
"""A class needs one sample in each split."""


def split_sizes(num_samples: int, config: DataConfig) -> dict[SplitName, int]:
    """Return how many of one class's samples (at least four) go to each split, at least one each."""
    held_out: dict[SplitName, int] = {
        "validation": max(1, round(num_samples * config.validation_fraction)),
        "calibration": max(1, round(num_samples * config.calibration_fraction)),
        "test": max(1, round(num_samples * config.test_fraction)),
    }
    # A handful of samples rounds up in every held-out part; the largest part gives back.
    while sum(held_out.values()) >= num_samples:
        largest = max(held_out, key=lambda name: held_out[name])
        held_out[largest] -= 1
    return {"train": num_samples - sum(held_out.values()), **held_out}


def split_ids(y: NDArray[np.int64], *, config: DataConfig, seed: int) -> dict[SplitName, NDArray[np.int64]]:
    """Return the ids (rows of ``y``) of each split, stratified by class.

    The ids of a split are in a random but fixed order, so that its first n are a fair sample of it.
    """
    generator = np.random.default_rng(seed)
    parts: dict[SplitName, list[NDArray[np.int64]]] = {name: [] for name in SPLITS}
    for label in np.unique(y):
        ids = generator.permutation(np.flatnonzero(y == label))
        sizes = split_sizes(len(ids), config)
        ends = np.cumsum([sizes[name] for name in SPLITS])
        for name, part in zip(SPLITS, np.split(ids, ends[:-1]), strict=True):
            parts[name].append(part)
    return {name: generator.permutation(np.concatenate(parts[name])) for name in SPLITS}
