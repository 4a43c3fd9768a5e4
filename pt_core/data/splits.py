"""Split samples by id into four disjoint parts, each class in every part; splits that are given are kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pt_core.data.config import SPLITS, DataConfig, SplitName

MIN_SAMPLES_PER_CLASS = len(SPLITS)
"""A class needs one sample in each split."""

Ids = NDArray[np.int64]


def split_sizes(
    num_samples: int, config: DataConfig, drawn: Sequence[SplitName] = SPLITS
) -> dict[SplitName, int]:
    """Return how many of one class's samples (at least one for each) go to each drawn split, at least one each."""
    shares: dict[SplitName, float] = {
        "validation": config.validation_fraction,
        "calibration": config.calibration_fraction,
        "test": config.test_fraction,
    }
    held_out = {name: max(1, round(num_samples * shares[name])) for name in shares if name in drawn}
    # A handful of samples rounds up in every held-out part; the largest part gives back.
    while sum(held_out.values()) >= num_samples:
        largest = max(held_out, key=lambda name: held_out[name])
        held_out[largest] -= 1
    return {"train": num_samples - sum(held_out.values()), **held_out}


def split_ids(
    y: Ids, *, config: DataConfig, seed: int, drawn: Sequence[SplitName] = SPLITS
) -> dict[SplitName, Ids]:
    """Return the ids (rows of ``y``) of each drawn split, stratified by class.

    The ids of a split are in a random but fixed order, so that its first n are a fair sample of it.
    """
    generator = np.random.default_rng(seed)
    names = [name for name in SPLITS if name in drawn]
    parts: dict[SplitName, list[Ids]] = {name: [] for name in names}
    for label in np.unique(y):
        ids = generator.permutation(np.flatnonzero(y == label))
        sizes = split_sizes(len(ids), config, names)
        ends = np.cumsum([sizes[name] for name in names])
        for name, part in zip(names, np.split(ids, ends[:-1]), strict=True):
            parts[name].append(part)
    return {name: generator.permutation(np.concatenate(parts[name])) for name in names}


def split_rows(
    y: Ids, *, groups: Ids | None, given: NDArray[np.str_] | None, config: DataConfig, seed: int
) -> dict[SplitName, Ids]:
    """Return the rows of each split: as given where it is, the rest drawn from the training rows, whole groups at a time.

    Args:
        y: (N,) class numbers.
        groups: (N,) number of the group each row belongs to; ``None`` for each its own.
        given: (N,) name of the split of each row; ``None`` where all are drawn.
        config: the shares.
        seed: of what is drawn.
    """
    present = {name for name in SPLITS if given is not None and (given == name).any()}
    drawn: list[SplitName] = ["train", *(name for name in SPLITS if name not in present | {"train"})]
    pool = np.arange(len(y)) if given is None else np.flatnonzero(given == "train")
    rows = _draw(y[pool], None if groups is None else groups[pool], config=config, seed=seed, drawn=drawn)
    found = {name: pool[part] for name, part in rows.items()}
    generator = np.random.default_rng([seed, 1])
    for name in SPLITS:
        if given is not None and name not in found:
            found[name] = generator.permutation(np.flatnonzero(given == name))
    return {name: found[name] for name in SPLITS}


def _draw(
    y: Ids, groups: Ids | None, *, config: DataConfig, seed: int, drawn: Sequence[SplitName]
) -> dict[SplitName, Ids]:
    if groups is None:
        return split_ids(y, config=config, seed=seed, drawn=drawn)
    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    parts = split_ids(y[first], config=config, seed=seed, drawn=drawn)
    generator = np.random.default_rng([seed, 2])
    return {
        name: generator.permutation(np.flatnonzero(np.isin(group_of, members)))
        for name, members in parts.items()
    }
