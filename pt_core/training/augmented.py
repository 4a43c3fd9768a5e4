"""Batches of the training split, changed at random as they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pt_core.data.augment import Scale, augment
from pt_core.data.augmentation import Augmentation, check_augmentation, check_library
from pt_core.data.dataset import DatasetInfo
from pt_core.training.batches import Fetch

EpochFetch = Callable[[int], Fetch]
"""From the epoch, from 1, to what reads its batches; a row that is shown again in an epoch is numbered N, 2 N, ... more."""


def augmented(
    fetch: Fetch,
    transforms: Sequence[Augmentation],
    *,
    dataset: DatasetInfo,
    ids: NDArray[np.int64],
    seed: int,
) -> EpochFetch:
    """Return what reads batches of an epoch and changes them.

    How a sample is changed depends on the seed, the epoch, the sample's id and how often the epoch showed it before:
    neither on the batch it is in nor on what was drawn before, so that a run continues as if it had never been
    interrupted.

    Args:
        fetch: reads batches as they are.
        transforms: what is done to them; without any, samples are read as they are.
        dataset: what strengths are measured in.
        ids: (N,) id of each row of the training split.
        seed: of the run.

    Raises:
        ConfigError: a change does not fit the samples, or its library is not installed.
    """
    num_samples = len(ids)
    if not transforms:
        return lambda _: lambda rows: fetch(rows % num_samples)
    check_augmentation(transforms, dataset)
    check_library(transforms)
    id_of = torch.from_numpy(np.array(ids))
    scale = Scale(dataset.input_range, dataset.mean, dataset.std)

    def of_epoch(epoch: int) -> Fetch:
        def read(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            own = rows % num_samples
            x, y = fetch(own)
            changed = augment(
                x,
                transforms,
                seed=seed,
                epoch=epoch,
                ids=id_of[own],
                showings=rows // num_samples,
                scale=scale,
            )
            is_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
            return changed.contiguous(
                memory_format=torch.channels_last if is_last else torch.contiguous_format
            ), y

        return read

    return of_epoch
