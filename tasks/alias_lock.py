"""The lock that whoever moves a model's aliases holds, across the processes and the machines of one MLflow.

MLflow sets an alias for whoever asks last, and offers no lock. What it offers is one database, in which a write is
seen by every later read (not so where it reads from a replica). That is enough: each promoter announces a claim under
a key of its own, and then looks. Of two, the later one to announce sees the other, so that at most one sees nobody
and goes on. Of those who see each other the one with the smallest token waits and the others step back. Every claim
has another key, so that removing a dead owner's can never hit a live one's.

An owner of this machine is known to be dead by its process. One of another machine is taken to be dead when its
claim has been looked at for :data:`LEASE_S` by our own clock; an owner gives up at a fraction of that, so that
clocks are never compared. What is left is a process that stalls, for minutes, between its last look and MLflow's write.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pt_core.errors import PromotionConflict
from pt_core.record import Record
from tasks.process_marks import machine, started
from tasks.registering import announce, claims, withdraw

LEASE_S = 180.0
"""After this long a claim of another machine counts as left behind; longer than MLflow's own retries of one call."""
PATIENCE_S = 240.0
"""How long to wait for another promoter."""
_POLL_S = 0.1


class Claimant(Record):
    """Who claims the aliases of a model."""

    host: str
    """Name of the machine."""
    machine: str
    """Id of the machine's start and of the process's container, within which process ids mean something."""
    pid: int
    """Process id."""
    started: str
    """When the process started, since ids are used again."""

    @classmethod
    def this_process(cls) -> Claimant:
        """Return who we are."""
        pid = os.getpid()
        return cls(host=platform.node(), machine=machine(), pid=pid, started=started(pid))

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended; ``False`` where nobody here can know."""
        return self._is_of_here and started(self.pid) != self.started

    @property
    def is_alive(self) -> bool:
        """Whether it is known to be at work; ``False`` where nobody here can know."""
        return self._is_of_here and started(self.pid) == self.started

    @property
    def _is_of_here(self) -> bool:
        return bool(self.machine) and self.machine == machine()


class Held:
    """A lock that this process holds."""

    def __init__(self, tracking_uri: str, name: str, token: str, *, ends: float) -> None:
        """Remember how long, by this process's own clock, nobody can have taken the claim for left behind."""
        self._tracking_uri, self._name, self._token, self._ends = tracking_uri, name, token, ends

    def check(self) -> None:
        """Make sure, right before an alias is moved, that nobody can have taken the lock over.

        Raises:
            PromotionConflict: it took too long, or the claim is gone.
        """
        if time.monotonic() < self._ends and self._token in claims(self._tracking_uri, self._name):
            return
        raise PromotionConflict(
            f"models:/{self._name}: the lock on its aliases ran out while MLflow was slow; nothing was moved, try again"
        )


@contextlib.contextmanager
def alias_lock(
    folder: Path,
    tracking_uri: str,
    *,
    name: str,
    patience_s: float = PATIENCE_S,
    lease_s: float = LEASE_S,
) -> Iterator[Held]:
    """Hold the lock on the aliases of a model while the block runs.

    Args:
        folder: of this home, where its processes queue without asking MLflow.
        tracking_uri: MLflow's address.
        name: of the registered model, which exists.
        patience_s: how long to wait for others.
        lease_s: after how long a claim of another machine counts as left behind.

    Raises:
        PromotionConflict: somebody else held it all that time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + patience_s
    try:
        with FileLock(folder / f"{name}.lock", timeout=patience_s):
            token, announced = _claim(tracking_uri, name, ends=ends, lease_s=lease_s)
            try:
                yield Held(tracking_uri, name, token, ends=announced + lease_s / 4)
            finally:
                withdraw(tracking_uri, name, token)
    except Timeout as error:
        raise PromotionConflict(
            f"models:/{name}: another process of this home held {folder / name}.lock for {patience_s:g} s; try again"
        ) from error


def _claim(tracking_uri: str, name: str, *, ends: float, lease_s: float) -> tuple[str, float]:
    """Return the token of a claim that stands alone, and when it was announced by our own clock."""
    seen: dict[str, float] = {}
    while True:
        token, announced = _announce(tracking_uri, name)
        try:
            if _stands_alone(tracking_uri, name, token, seen, until=announced + lease_s / 8, lease_s=lease_s):
                return token, announced
        except BaseException:
            withdraw(tracking_uri, name, token)
            raise
        # Announced anew, since others measure a claim's age from when they saw it first.
        withdraw(tracking_uri, name, token)
        others = _alive(tracking_uri, name, token, seen, lease_s=lease_s)
        if others and time.monotonic() > ends:
            raise PromotionConflict(_held_by(name, others))
        _pause()


def _announce(tracking_uri: str, name: str) -> tuple[str, float]:
    token, announced = secrets.token_hex(8), time.monotonic()
    announce(tracking_uri, name, token, Claimant.this_process().to_json())
    return token, announced


def _stands_alone(
    tracking_uri: str, name: str, token: str, seen: dict[str, float], *, until: float, lease_s: float
) -> bool:
    """Return whether no other claim is left, waiting for those that ours goes before."""
    while True:
        others = _alive(tracking_uri, name, token, seen, lease_s=lease_s)
        if not others:
            return True
        if min(others) < token or time.monotonic() > until:
            return False
        _pause()


def _pause() -> None:
    time.sleep(_POLL_S * (1 + secrets.randbelow(10) / 10))


def _alive(
    tracking_uri: str, name: str, token: str, seen: dict[str, float], *, lease_s: float
) -> dict[str, str]:
    """Return the claims of others, after removing those whose owner is gone."""
    now = time.monotonic()
    others = {key: value for key, value in claims(tracking_uri, name).items() if key != token}
    for key, value in list(others.items()):
        first = seen.setdefault(key, now)
        if now - first > lease_s or _is_dead(value):
            withdraw(tracking_uri, name, key)
            del others[key]
    return others


def _is_dead(claim: str) -> bool:
    try:
        return Claimant.from_json(claim).is_dead
    except ValueError:
        return False


def _held_by(name: str, others: dict[str, str]) -> str:
    try:
        first = json.loads(next(iter(others.values())))
        owner = f"process {first['pid']} on {first['host']}"
    except (ValueError, KeyError, TypeError):
        owner = "somebody"
    return f"models:/{name}: {owner} holds the lock on its aliases; try again when it has ended"
