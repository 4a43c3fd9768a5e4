"""The two splits that a training sees, and what reads them."""

from __future__ import annotations

from typing import NamedTuple

from pt_core.data.dataset import Samples, load_split
from pt_core.training.augmented import EpochFetch, augmented
from pt_core.training.batches import Fetch, make_fetch, read_ahead
from pt_core.training.requests import TrainRequest


class Data(NamedTuple):
    """The two splits that training sees."""

    train: Samples
    """What is learnt from."""
    validation: Samples
    """What is watched."""
    fetch_train: EpochFetch
    """Reads rows of the first onto the device, changed at random in each epoch where that is configured."""
    fetch_validation: Fetch
    """Reads rows of the second."""


def open_data(request: TrainRequest, device: str) -> Data:
    """Open the splits of a request's dataset, to be read onto a device.

    Raises:
        ConfigError: an augmentation does not fit the samples, or its library is not installed.
    """
    train_split, validation = (
        read_ahead(load_split(request.dataset, name)) for name in ("train", "validation")
    )
    fetch_train, fetch_validation = (
        make_fetch(split, device=device, channels_last=request.config.channels_last)
        for split in (train_split, validation)
    )
    changed = augmented(
        fetch_train, request.augmentation, dataset=request.dataset, ids=train_split.ids, seed=request.seed
    )
    return Data(train_split, validation, changed, fetch_validation)
