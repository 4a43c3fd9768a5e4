"""The file of an outbox: one line for each entry, on the disk before it is sent, with a digest against damage.

A process that is killed while it appends leaves half a line, without its end. Nobody has built on that line, so it is
dropped. Damage anywhere else is a failure, for what stands there was to be sent.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

from pydantic import ValidationError

from pt_core.errors import IntegrityError, StepFailed
from tasks.outbox_entries import LINE, Line

_DIGEST_LENGTH = 16


def encode(line: Line) -> bytes:
    """Return a line as it stands in the file."""
    text = line.to_json()
    return f'{{"digest":"{_digest(text)}","line":{text}}}\n'.encode()


def read(path: Path) -> tuple[list[Line], int]:
    """Return the lines of an outbox, and the length in bytes of what is whole.

    Raises:
        IntegrityError: a line that was written to its end is damaged.
        OSError: the file cannot be read.
    """
    lines: list[Line] = []
    whole = 0
    raw = path.read_bytes().splitlines(keepends=True)
    for number, text in enumerate(raw, start=1):
        line = _decode(text)
        if line is None and text.endswith(b"\n"):
            raise IntegrityError(
                f"{path}: line {number} of {len(raw)} is damaged, expected an entry with its digest; nothing of it "
                "was sent: take the line out to send the others, or remove the file to give them up"
            )
        if line is not None:
            lines.append(line)
            whole += len(text)
    return lines, whole


class OutboxFile:
    """An outbox that this process appends to."""

    def __init__(self, path: Path) -> None:
        """Open it, and drop half a line at its end.

        Raises:
            IntegrityError: a line that was written to its end is damaged.
            OSError: the file cannot be opened.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.lines, self._size = read(path) if path.exists() else ([], 0)
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, self._size)

    def append(self, *lines: Line, durably: bool = True) -> None:
        """Write lines at the end, by one fsync for all of them.

        Args:
            lines: what to write.
            durably: whether to wait for the disk. What MLflow has taken need not: it is looked for there again.

        Raises:
            StepFailed: the disk took it not or only in part; the file is as it was.
        """
        content = b"".join(map(encode, lines))
        with self._lock:
            try:
                written = 0
                while written < len(content):
                    written += os.pwrite(self._descriptor, content[written:], self._size + written)
                if durably:
                    os.fsync(self._descriptor)
            except OSError as error:
                os.ftruncate(self._descriptor, self._size)
                raise StepFailed(
                    f"{self.path}: what is for MLflow cannot be written down: {error}"
                ) from error
            self._size += len(content)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            os.close(self._descriptor)


def _decode(text: bytes) -> Line | None:
    try:
        found = json.loads(text)
        inner = json.dumps(found["line"], sort_keys=True, separators=(",", ":"), allow_nan=False)
        if not text.endswith(b"\n") or found["digest"] != _digest(inner):
            return None
        return LINE.validate_python(found["line"], strict=False)
    except (ValueError, KeyError, TypeError, ValidationError):
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]
