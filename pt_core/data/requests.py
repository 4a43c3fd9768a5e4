"""What preparing data is asked, apart from the code that does it so that asking imports nothing heavy."""

from __future__ import annotations

from pt_core.data.config import DataConfig
from pt_core.record import Record


class PrepareRequest(Record):
    """Load, check and split samples."""

    config: DataConfig
    """Which samples."""
    seed: int
    """Seed of the split."""
    base_dir: str
    """Folder that the configuration's path is relative to."""
    source_sha256: str | None
    """SHA-256 of the data file, or of all files; ``None`` for an embedded source."""
    code_sha256: str = ""
    """Digest of the code behind source "factory", so that an edit of it is a different request."""
    store: str
    """Folder that the dataset bundle is written into."""
