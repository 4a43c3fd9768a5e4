"""Collect answers until they are worth a part, and make the part durable."""

from __future__ import annotations

import time

import pyarrow as pa

from pt_core.bundle import hash_file
from pt_core.files import write_text_atomically
from pt_core.scoring.journal import Journal, Part
from pt_core.scoring.parts import bad_lines, write_part
from pt_core.scoring.requests import BadRow
from pt_core.scoring.source import Block

_MAX_BYTES = 2**23


class PartWriter:
    """Writes parts and notes them in the journal: the files first, the line that vouches for them last."""

    def __init__(self, journal: Journal, *, seconds: float) -> None:
        """Begin behind the last part; a part ends at the first block after so many seconds, or when it is large."""
        self._journal = journal
        self._seconds = seconds
        self._stop = journal.num_done
        self._begin()

    def _begin(self) -> None:
        self._started = time.monotonic()
        self._tables: list[pa.Table] = []
        self._bad: list[BadRow] = []

    @property
    def num_done(self) -> int:
        """How many rows of the input were taken, durable or not."""
        return self._stop

    def add(self, block: Block, table: pa.Table) -> None:
        """Take a block and the answers for its good rows."""
        self._stop += len(block.good)
        self._tables.append(table)
        self._bad += block.bad
        num_bytes = sum(table.nbytes for table in self._tables)
        if time.monotonic() - self._started >= self._seconds or num_bytes >= _MAX_BYTES:
            self.close()

    def close(self) -> None:
        """Make what was taken durable."""
        if not self._tables:
            return
        number = len(self._journal.parts)
        scores, bad = self._journal.scores(number), self._journal.bad(number)
        write_part(scores, self._tables)
        write_text_atomically(bad, bad_lines(self._bad))
        part = Part(
            stop=self._stop,
            num_rows=sum(table.num_rows for table in self._tables),
            num_bad_rows=len(self._bad),
            scores_sha256=hash_file(scores),
            bad_sha256=hash_file(bad),
        )
        self._journal.append(part)
        self._begin()
