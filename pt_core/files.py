"""Write a small file whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_bytes_atomically(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace ``path`` by ``content`` in one rename, so that a reader never sees half a file.

    Args:
        path: the file.
        content: what it shall hold.
        mode: its permissions from the first byte on, less those that the process's umask takes away.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Replace ``path`` by UTF-8 ``text`` in one rename."""
    write_bytes_atomically(path, text.encode())
