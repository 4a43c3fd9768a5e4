"""What an interrupted scoring had finished: an append-only journal of parts, believed only where the bytes agree."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from pt_core.bundle import hash_file
from pt_core.errors import ConfigError
from pt_core.files import write_text_atomically
from pt_core.folder_lock import is_still
from pt_core.record import Record

_JOURNAL = "journal.jsonl"


class Identity(Record):
    """What an answer depends on; parts of another identity are of no use."""

    schema_version: int = 1
    """Version of the files of this room."""
    artifact_digest: str
    """Digest of the artifact."""
    input_fingerprint: str
    """What changes with the input's content."""
    id_column: str | None
    """Column that names the rows."""
    batch_size: int
    """Rows that are predicted in one call."""
    block_size: int
    """Rows that are read at once."""
    code: str
    """Digest of this product's code."""
    runtime: str
    """Interpreter, libraries and instruction sets."""


class Part(Record):
    """Consecutive rows that are done."""

    stop: int
    """Number of the first row after it, in the input."""
    num_rows: int
    """Rows that were scored."""
    num_bad_rows: int
    """Rows that could not be."""
    scores_sha256: str
    """Of its Parquet file."""
    bad_sha256: str
    """Of its list of bad rows."""


class Journal:
    """The finished parts of one scoring, in the order of the input."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        """Read what is there, keep the parts from the first on whose bytes agree, and drop everything else."""
        self.identity = identity
        self._folder = folder
        self._path = folder / _JOURNAL
        self.parts = list(_read(self._path, identity))
        self.parts = list(self._intact())
        kept = {path for number in range(len(self.parts)) for path in (self.scores(number), self.bad(number))}
        for path in set(folder.iterdir()) - kept:
            path.unlink()
        lines = [identity.to_json(), *(part.to_json() for part in self.parts)]
        write_text_atomically(self._path, "".join(f"{line}\n" for line in lines))

    @property
    def num_done(self) -> int:
        """How many rows of the input are done."""
        return self.parts[-1].stop if self.parts else 0

    @property
    def num_rows(self) -> int:
        """How many rows were scored."""
        return sum(part.num_rows for part in self.parts)

    @property
    def num_bad_rows(self) -> int:
        """How many could not be."""
        return sum(part.num_bad_rows for part in self.parts)

    def scores(self, number: int) -> Path:
        """Return the Parquet file of a part."""
        return self._folder / f"part-{number:06d}.parquet"

    def bad(self, number: int) -> Path:
        """Return the list of bad rows of a part."""
        return self._folder / f"part-{number:06d}.bad.csv"

    def append(self, part: Part) -> None:
        """Write down that a part, whose files are on disk, is done."""
        with self._path.open("ab") as stream:
            stream.write(f"{part.to_json()}\n".encode())
            stream.flush()
            os.fsync(stream.fileno())
        self.parts.append(part)

    def _intact(self) -> Iterator[Part]:
        for number, part in enumerate(self.parts):
            files = (self.scores(number), self.bad(number))
            if not all(path.is_file() for path in files):
                return
            if [hash_file(path) for path in files] != [part.scores_sha256, part.bad_sha256]:
                return
            yield part


def _read(path: Path, identity: Identity) -> Iterator[Part]:
    """Yield the parts that a journal of this identity names; a last line that was cut short is none."""
    lines = path.read_text().splitlines() if path.exists() else []
    if not lines or lines[0] != identity.to_json():
        return
    for line in lines[1:]:
        try:
            yield Part.from_json(line)
        except ValidationError:
            return


def folder_of(output: Path) -> Path:
    """Return the folder in which the parts of an output are kept until it is whole."""
    return output.with_name(f".{output.name}.parts")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder and hold it against every other process; the lock goes with this process however that ends.

    Raises:
        ConfigError: another process holds it.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process that held it may have removed it in between: then the lock is on nothing.
            if is_still(folder, lock):
                yield
                return
        except BlockingIOError as error:
            raise ConfigError(
                f"{folder}: another process is scoring into it; wait for it, or name another output"
            ) from error
        finally:
            os.close(lock)


def remove(folder: Path) -> None:
    """Remove the parts of an output that is whole."""
    shutil.rmtree(folder, ignore_errors=True)
