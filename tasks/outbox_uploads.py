"""Give an upload the time that it needs: MLflow has one timeout for every request, and reads it from the environment."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_VARIABLE = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_BYTES_PER_S = 2**20
_LONGEST_S = 3600

_lock = threading.Lock()
_asked_for: list[int] = []
"""The timeouts of the uploads at work, of which the longest holds, behind what the user or we had set before."""


@contextlib.contextmanager
def patient(folder: str, *, num_failures: int) -> Iterator[None]:
    """Wait longer for the answers to an upload, by its largest file, and twice as long after every failure.

    Args:
        folder: what is uploaded.
        num_failures: how often a server that answered did not take it.
    """
    largest = max((path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()), default=0)
    with _lock:
        if not _asked_for:
            _asked_for.append(int(os.environ[_VARIABLE]))
        wanted = (_asked_for[0] + largest / _BYTES_PER_S) * 2 ** min(num_failures, 20)
        mine = math.ceil(max(_asked_for[0], min(wanted, _LONGEST_S)))
        _asked_for.append(mine)
        os.environ[_VARIABLE] = str(max(_asked_for))
    try:
        yield
    finally:
        with _lock:
            del _asked_for[_asked_for.index(mine, 1)]
            os.environ[_VARIABLE] = str(max(_asked_for))
            if len(_asked_for) == 1:
                _asked_for.clear()
