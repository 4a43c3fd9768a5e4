"""The lock of a folder: whether it is that of the folder which stands there, and the removal of what nobody holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path


def is_still(folder: Path, lock: int) -> bool:
    """Return whether a path names what was opened: the lock of a folder that was removed keeps nobody out."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock), folder.stat())
    return False


def remove_unheld(folder: Path) -> bool:
    """Remove a folder under its lock, unless another process has that; return whether it was removed.

    Where the file system has no locks nothing is.
    """
    with contextlib.suppress(OSError):  # it is held, or another process removed it meanwhile
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_still(folder, lock):
                shutil.rmtree(folder, ignore_errors=True)
                return True
        finally:
            os.close(lock)
    return False
