"""The file of the journal of deliveries: its tables, and connections to it for any thread and any process."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pt_core.errors import ConfigError
from pt_core.record import Record

_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    repository TEXT NOT NULL,
    branch TEXT NOT NULL,
    "commit" TEXT NOT NULL,
    "before" TEXT,
    body_sha256 TEXT,
    received_at REAL NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL NOT NULL DEFAULT 0,
    first_attempt_at REAL,
    run_id TEXT,
    run_name TEXT,
    replay_of TEXT,
    UNIQUE (repository, id)
);
CREATE UNIQUE INDEX IF NOT EXISTS bodies ON deliveries (repository, body_sha256) WHERE body_sha256 IS NOT NULL;
CREATE INDEX IF NOT EXISTS waiting ON deliveries (state, seq);
CREATE TABLE IF NOT EXISTS dropped (
    repository TEXT NOT NULL,
    body_sha256 TEXT NOT NULL,
    PRIMARY KEY (repository, body_sha256)
) WITHOUT ROWID;
"""
_OF_LATER_COLUMNS = (
    'CREATE INDEX IF NOT EXISTS on_top ON deliveries (repository, branch, "before") '
    'WHERE "before" IS NOT NULL AND replay_of IS NULL'
)
"""Made last, since a journal of an earlier version gets the column first; partial, or it would be taken for other questions."""


class Journal(Record):
    """The deliveries of one home folder, in SQLite."""

    path: str
    """The database file."""


def open_journal(folder: Path) -> Journal:
    """Return the journal in a folder; both are made if missing.

    Raises:
        ConfigError: it cannot be opened.
    """
    path = folder / "deliveries.db"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with connected(Journal(path=str(path))) as database:
            database.executescript(_SCHEMA)
            _upgrade(database)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"{path}: cannot open the journal of deliveries: {error}") from error
    return Journal(path=str(path))


@contextlib.contextmanager
def kept_open(journal: Journal) -> Iterator[None]:
    """Hold one connection for the block: SQLite folds its log into the database whenever the last one closes."""
    with connected(journal):
        yield


@contextlib.contextmanager
def connected(journal: Journal) -> Iterator[sqlite3.Connection]:
    """A connection of this call's own, so that any thread and any process may write."""
    database = sqlite3.connect(journal.path, timeout=10, isolation_level=None)
    try:
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def written(journal: Journal) -> Iterator[sqlite3.Connection]:
    """A transaction that is on the disk when the block ends."""
    with connected(journal) as database:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")


def _upgrade(database: sqlite3.Connection) -> None:
    """Add what a journal of an earlier version lacks."""
    there = {row["name"] for row in database.execute("PRAGMA table_info(deliveries)")}
    for name, kind in (("before", "TEXT"), ("first_attempt_at", "REAL")):
        if name not in there:
            database.execute(f'ALTER TABLE deliveries ADD COLUMN "{name}" {kind}')
    database.execute(_OF_LATER_COLUMNS)
