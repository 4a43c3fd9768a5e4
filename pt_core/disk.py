"""Recognise a full disk behind whatever error a writer raised, or the crash it ended in."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Codes of an ``OSError`` that say there is no room left."""

_WORDS = (*map(os.strerror, FULL), "Not enough free space to write")
"""What the system says, and what numpy says when the system refuses it a large file at once."""

_FEW_BYTES = 2**20


def full_disk(text: str, folders: Iterable[Path]) -> str | None:
    """Return a sentence that says which disk is full, or ``None`` if none is.

    Native writers keep the system's words for themselves: ``torch.save`` says "unexpected pos 704 vs
    598", ``torch.jit.save`` aborts the process. So
    hardly any bytes being left where the failed process wrote counts as much as the system's words.

    Args:
        text: what the failed process said.
        folders: where it wrote.
    """
    free = {folder: shutil.disk_usage(_existing(folder)).free for folder in folders}
    is_said = any(words in text for words in _WORDS)
    if not is_said and not any(left < _FEW_BYTES for left in free.values()):
        return None
    places = ", ".join(
        f"{left:,} bytes in {folder}" for folder, left in sorted(free.items(), key=lambda x: x[1])
    )
    return f"the disk is full, free are {places}; make room there, or use a folder on a larger disk"


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
