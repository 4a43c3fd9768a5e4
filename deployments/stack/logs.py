"""The services' logs: followed on the terminal, each line with the name of its service, and kept from growing without end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 10 * 2**20
"""Above this a log is copied to ``<name>.log.1`` and emptied."""

_CHUNK_BYTES = 2**18
_TAIL_BYTES = 2**14


class Follower:
    """Reads on in a log from where it stopped; the position is all it keeps."""

    def __init__(self, path: Path, *, position: int = 0) -> None:
        self.path = path
        self.position = position

    def lines(self, *, last: bool = False) -> Iterator[str]:
        """Yield the whole lines that were added since the last call; the unfinished one, too, where it is the last call.

        A log that was removed has none; one that begins anew is read from its beginning.
        """
        self.position = min(self.position, self._num_bytes())
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.position)
                added = stream.read(_CHUNK_BYTES)
        except FileNotFoundError:
            return
        end = len(added) if last or len(added) == _CHUNK_BYTES else added.rfind(b"\n") + 1
        self.position += end
        yield from added[:end].decode(errors="replace").splitlines()

    def skip(self) -> None:
        """Go to the end: what a service says while it starts is in its log."""
        self.position = self._num_bytes()

    def rotate(self) -> None:
        """Empty the log if it has grown too long, keeping one copy of what was in it.

        Raises:
            OSError: there is no room for the copy.
        """
        if self._num_bytes() <= MAX_BYTES:
            return
        shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
        # The service writes at the end of the file, wherever that is by then.
        os.truncate(self.path, 0)
        self.position = 0

    def _num_bytes(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


def tail(path: Path, *, num_lines: int) -> list[str]:
    """Return the last lines of a log that are not empty."""
    if not path.exists():
        return []
    with path.open("rb") as stream:
        stream.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
        lines = stream.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-num_lines:]
