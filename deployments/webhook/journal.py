"""The journal of deliveries: what was accepted is on the disk before the sender is told so."""

from __future__ import annotations

import sqlite3
from typing import Literal

from deployments.webhook.journal_file import Journal, connected, written
from pt_core.record import Record

State = Literal["accepted", "started", "superseded", "cancelled", "dead"]
"""accepted: waits to be started; started: a run was made; superseded: a newer commit came before it was started;
cancelled: its run was still queued when a newer commit came; dead: given up, kept for replay."""

KEPT_DAYS = 90
"""How long a delivery that has ended is kept; hosts send one again for three days."""

_FIELDS = (
    'seq, id, repository, branch, "commit", "before", body_sha256, received_at, state, reason, attempts, next_attempt_at, '
    "first_attempt_at, run_id, run_name, replay_of"
)


class Delivery(Record):
    """One authorised request, and what became of it."""

    seq: int = 0
    """Its place in the order of arrival; 0 before it is written."""
    id: str
    """The sender's id, the same when it sends again."""
    repository: str
    """Full name of the repository in our settings."""
    branch: str
    """The configured branch that was pushed."""
    commit: str
    """The pushed commit, in full."""
    before: str | None = None
    """The commit that the branch was at before the push; ``None`` where the sender does not say, or the branch is new."""
    body_sha256: str | None = None
    """Digest of the body, where the signature covers nothing else that is unique."""
    received_at: float
    """Seconds since 1970."""
    state: State = "accepted"
    """What became of it."""
    reason: str = ""
    """Why, in one sentence."""
    attempts: int = 0
    """How often starting the run was tried."""
    next_attempt_at: float = 0.0
    """When it is tried next, in seconds since 1970."""
    first_attempt_at: float | None = None
    """When it was first tried, in seconds since 1970."""
    run_id: str | None = None
    """The Prefect flow run."""
    run_name: str | None = None
    """The flow run's name."""
    replay_of: str | None = None
    """The id of the delivery that a person asked to start again."""

    def idempotency_key(self, deployment: str) -> str:
        """Return the key by which Prefect knows this delivery's run; Prefect's keys are shared by a flow's deployments."""
        return f"{deployment}:{self.repository}:{self.id}"


class Entry(Record):
    """What the journal holds after a delivery came."""

    delivery: Delivery | None
    """The delivery as it stands; ``None`` where it came so long ago that only its body's digest is kept."""
    is_new: bool
    """Whether it was written now; if not, it is an earlier one with the same id or the same signed body."""


def add(journal: Journal, delivery: Delivery, *, forced: bool | None = None) -> Entry:
    """Write a delivery, unless one with the same id or the same signed body is there.

    A newer commit on a branch takes the place of those that wait to be started there; one that comes after a commit that
    was pushed on top of it is written as superseded. ``forced`` is the sender's word on whether the branch was set anew.
    """
    with written(journal) as database:
        known = database.execute(
            f"SELECT {_FIELDS} FROM deliveries WHERE repository = ? AND (id = ? OR body_sha256 = ?)",  # noqa: S608
            (delivery.repository, delivery.id, delivery.body_sha256),
        ).fetchone()
        if known:
            return Entry(delivery=_delivery(known), is_new=False)
        if _was_dropped(database, delivery):
            return Entry(delivery=None, is_new=False)
        if delivery.replay_of is None:
            newer = None if forced else _pushed_on_top(database, delivery, forced=forced)
            if newer is not None:
                delivery = delivery.model_copy(update={"state": "superseded", "reason": newer})
            else:
                _supersede(database, delivery)
        values = delivery.model_dump(exclude={"seq"})
        names = ", ".join(f'"{name}"' for name in values)
        places = ", ".join("?" for _ in values)
        database.execute(f"INSERT INTO deliveries ({names}) VALUES ({places})", tuple(values.values()))  # noqa: S608
    return Entry(delivery=delivery, is_new=True)


def _pushed_on_top(database: sqlite3.Connection, delivery: Delivery, *, forced: bool | None) -> str | None:
    """Return which commit was pushed on top of a delivery's, in words; ``None`` if none was, or the branch came back."""
    top, at, later = None, delivery.commit, set[str]()
    while at not in later and (row := _child(database, delivery, at)) is not None:
        top = top or row
        at = row["commit"]
        later.add(at)
        # A push that starts at a later commit set the branch back to this one: nothing is newer.
        if at == delivery.before:
            return None
    if top is None or not _precedes(database, delivery, top, forced=forced):
        return None
    return f"commit {top['commit'][:12]} was pushed on top of it and came before it (delivery {top['id']})"


def _precedes(
    database: sqlite3.Connection, delivery: Delivery, top: sqlite3.Row, *, forced: bool | None
) -> bool:
    """Return whether a delivery was pushed before the one on top of it, and not by a branch that was set back since."""
    if delivery.before is None:
        return True
    (heard,) = database.execute(
        'SELECT max(seq) FROM deliveries WHERE repository = ? AND branch = ? AND "commit" = ? AND replay_of IS NULL',
        (delivery.repository, delivery.branch, delivery.before),
    ).fetchone()
    # Of a commit never heard of, only a host that says what it forced tells whether it is an older one.
    return forced is not None if heard is None else heard < top["seq"]


def _child(database: sqlite3.Connection, delivery: Delivery, commit: str) -> sqlite3.Row | None:
    """Return the latest push that began at a commit of a delivery's branch."""
    found: sqlite3.Row | None = database.execute(
        'SELECT seq, id, "commit" FROM deliveries WHERE repository = ? AND branch = ? AND "before" = ? '
        "AND replay_of IS NULL ORDER BY seq DESC LIMIT 1",
        (delivery.repository, delivery.branch, commit),
    ).fetchone()
    return found


def _was_dropped(database: sqlite3.Connection, delivery: Delivery) -> bool:
    found = database.execute(
        "SELECT 1 FROM dropped WHERE repository = ? AND body_sha256 = ?",
        (delivery.repository, delivery.body_sha256),
    )
    return found.fetchone() is not None


def _supersede(database: sqlite3.Connection, newer: Delivery) -> None:
    reason = f"commit {newer.commit[:12]} is newer (delivery {newer.id})"
    database.execute(
        "UPDATE deliveries SET state = 'superseded', reason = ? "
        "WHERE repository = ? AND branch = ? AND state = 'accepted' AND replay_of IS NULL",
        (reason, newer.repository, newer.branch),
    )


def next_waiting(journal: Journal) -> Delivery | None:
    """Return the delivery to start next: the first to be tried, then the first to arrive."""
    with connected(journal) as database:
        row = database.execute(
            f"SELECT {_FIELDS} FROM deliveries WHERE state = 'accepted' "  # noqa: S608
            "ORDER BY next_attempt_at, seq LIMIT 1"
        ).fetchone()
    return _delivery(row) if row else None


def settle(journal: Journal, *deliveries: Delivery) -> None:
    """Write what became of deliveries, of all or of none.

    A newer commit may have taken the place of one in the meantime: then only a run that was made is written over that.
    """
    with written(journal) as database:
        database.executemany(
            "UPDATE deliveries SET state = :state, reason = :reason, attempts = :attempts, run_id = :run_id, "
            "run_name = :run_name, next_attempt_at = :next_attempt_at, first_attempt_at = :first_attempt_at "
            "WHERE seq = :seq AND (state = 'accepted' OR :state IN ('started', 'cancelled'))",
            [delivery.model_dump() for delivery in deliveries],
        )


def drop_ended(journal: Journal, *, received_before: float) -> int:
    """Drop the deliveries that came to something before a time, in seconds since 1970; return how many.

    Of a signed body its digest stays: a copy of the request, overheard once, shall start nothing in a year either. What
    waits stays, and so does a dead letter.
    """
    ended = "state IN ('started', 'superseded', 'cancelled') AND received_at < ?"
    with written(journal) as database:
        database.execute(
            "INSERT OR IGNORE INTO dropped SELECT repository, body_sha256 FROM deliveries "  # noqa: S608
            f"WHERE body_sha256 IS NOT NULL AND {ended}",
            (received_before,),
        )
        return database.execute(f"DELETE FROM deliveries WHERE {ended}", (received_before,)).rowcount  # noqa: S608


def find(journal: Journal, delivery_id: str) -> tuple[Delivery, ...]:
    """Return the deliveries whose id starts with a text, oldest first."""
    with connected(journal) as database:
        rows = database.execute(
            f"SELECT {_FIELDS} FROM deliveries WHERE substr(id, 1, ?) = ? ORDER BY seq",  # noqa: S608
            (len(delivery_id), delivery_id),
        ).fetchall()
    return tuple(_delivery(row) for row in rows)


def latest(journal: Journal, *, last: int, state: State | None = None) -> tuple[Delivery, ...]:
    """Return the latest deliveries, oldest first."""
    with connected(journal) as database:
        rows = database.execute(
            f"SELECT {_FIELDS} FROM deliveries WHERE ? IS NULL OR state = ? ORDER BY seq DESC LIMIT ?",  # noqa: S608
            (state, state, last),
        ).fetchall()
    return tuple(_delivery(row) for row in reversed(rows))


def earlier(journal: Journal, delivery: Delivery) -> tuple[Delivery, ...]:
    """Return the deliveries of the same branch that arrived earlier and may have a run, latest first.

    One that was superseded may have one too: its request may have reached Prefect without our hearing of it.
    """
    with connected(journal) as database:
        rows = database.execute(
            f"SELECT {_FIELDS} FROM deliveries WHERE repository = ? AND branch = ? AND seq < ? "  # noqa: S608
            "AND state IN ('started', 'superseded') AND replay_of IS NULL ORDER BY seq DESC LIMIT 500",
            (delivery.repository, delivery.branch, delivery.seq),
        ).fetchall()
    return tuple(_delivery(row) for row in rows)


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery.model_validate(dict(row))
