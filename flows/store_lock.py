"""The lock on a home's bundles: whoever works with them shares it, and whoever removes some holds it alone."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from flows.home import Home

logger = logging.getLogger(__name__)

_POLL_S = 0.2


@contextlib.contextmanager
def store_in_use(home: Home) -> Iterator[None]:
    """Keep every bundle of a home from being removed while the block runs; waits for a removal that goes on."""
    with _opened(home) as lock:
        # A file system without locks has no maintenance either: that asks for the same lock.
        with contextlib.suppress(OSError):
            if not _try(lock, fcntl.LOCK_SH):
                logger.info(
                    "waiting for a maintenance to end that removes what no longer serves from %s", home.root
                )
                fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def store_alone(home: Home, *, patience_s: float) -> Iterator[bool]:
    """Yield whether nobody works with the bundles of a home; then nobody starts to before the block ends.

    The system drops the lock with its process, however that ends, so a run that was killed holds nothing up.
    """
    ends = time.monotonic() + patience_s
    with _opened(home) as lock:
        while not (got := _try(lock, fcntl.LOCK_EX)) and time.monotonic() < ends:
            time.sleep(_POLL_S)
        yield got


@contextlib.contextmanager
def _opened(home: Home) -> Iterator[int]:
    path = Path(home.root) / "store.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not inherited by programs that this process starts: a child that outlives it would hold the lock on.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
