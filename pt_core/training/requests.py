"""What training is asked, apart from the code that does it so that asking imports nothing heavy."""

from __future__ import annotations

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
    store: str
    """Folder that the checkpoint is written into."""
