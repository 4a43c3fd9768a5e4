"""What training is asked, apart from the code that does it so that asking imports nothing heavy."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from pt_core.bundle import Bundle
from pt_core.data.augmentation import Augmentation
from pt_core.data.dataset import Dataset
from pt_core.modeling.spec import ModelConfig
from pt_core.record import Record
from pt_core.training.config import TrainConfig


class TrainRequest(Record):
    """Train one network on one dataset."""

    dataset: Dataset
    """The samples."""
    model: ModelConfig
    """The network."""
    code_sha256: str
    """Digest of the network's source code, so that an edit of it is a different request."""
    config: TrainConfig
    """How to train."""
    seed: int
    """The seed of everything random."""
    augmentation: tuple[Augmentation, ...] = ()
    """Random changes of the training samples, in this order."""
    store: str
    """Folder that the checkpoint is written into."""
    warm_start: Bundle | None = None
    """The checkpoint to start from, as it was found: its digest makes another one a different request."""
    halve_batch: bool = False
    """Whether each forward pass takes half of ``config.batch_size``, because memory ran out with all of it."""

    @model_validator(mode="after")
    def _starts_from_what_is_configured(self) -> Self:
        if (self.warm_start is None) != (self.model.warm_start is None):
            raise ValueError(
                "warm_start: expected the bundle of model.warm_start.checkpoint, and only of that"
            )
        return self
