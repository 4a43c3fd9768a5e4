"""Start the run of each delivery in the journal, one after the other, until told to stop."""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from deployments.webhook.journal import KEPT_DAYS, Delivery, drop_ended, earlier, next_waiting, settle
from deployments.webhook.journal_file import Journal
from deployments.webhook.runs import NotReady, NotStarted, Refused, Started
from deployments.webhook_config import Repository

logger = logging.getLogger(__name__)

MAX_PAUSE_S = 60.0
"""Longest time between two tries."""
POLL_S = 1.0
"""How often the journal is looked at for what another process put there, such as a replay."""
_DAY_S = 86_400.0


class Starter(Protocol):
    """Makes the run of a delivery, once however often it is called."""

    def __call__(self, delivery: Delivery, repository: Repository, *, older_keys: Sequence[str]) -> Started:
        """Make the run and cancel the queued ones of ``older_keys``."""
        ...


def dispatch(
    journal: Journal,
    repositories: Mapping[str, Repository],
    start: Starter,
    *,
    wake: threading.Event,
    stop: Callable[[], bool],
) -> None:
    """Start what waits, in the order of arrival; what fails waits longer each time and is tried with the same key.

    Once a day, and at first, the journal is rid of what ended long ago.
    """
    tidied_at = -math.inf
    while not stop():
        try:
            if time.monotonic() - tidied_at >= _DAY_S:
                tidied_at = time.monotonic()
                _tidy(journal)
            waited_for = _step(journal, repositories, start)
        except sqlite3.Error as error:
            logger.warning("the journal of deliveries cannot be used, tried again: %s", error)
            waited_for = POLL_S
        if waited_for > 0:
            wake.wait(waited_for)
            wake.clear()


def _tidy(journal: Journal) -> None:
    num = drop_ended(journal, received_before=time.time() - KEPT_DAYS * _DAY_S)
    if num:
        logger.info("%d deliveries that ended over %d days ago are no longer in the journal", num, KEPT_DAYS)


def _step(journal: Journal, repositories: Mapping[str, Repository], start: Starter) -> float:
    """Try what is due; return for how many seconds nothing is."""
    delivery = next_waiting(journal)
    if delivery is None:
        return POLL_S
    pause = delivery.next_attempt_at - time.time()
    if pause <= 0:
        attempt(journal, delivery, repositories.get(delivery.repository), start)
    return min(pause, POLL_S)


def attempt(journal: Journal, delivery: Delivery, repository: Repository | None, start: Starter) -> None:
    """Try once to start the run of a delivery, and write what came of it."""
    try:
        settings = _still_wanted(delivery, repository)
        older = {one.idempotency_key(settings.deployment): one for one in _older(journal, delivery)}
        started = start(delivery, settings, older_keys=tuple(older))
    except NotStarted as error:
        _postpone(journal, delivery, error)
        return
    except Exception as error:  # one delivery must not end the dispatcher: it becomes a dead letter
        logger.exception("%s: %s failed", delivery.repository, delivery.id)
        _postpone(journal, delivery, Refused(f"{type(error).__name__} while starting the run; see the log"))
        return
    reason = f"commit {delivery.commit[:12]} came before its run began (delivery {delivery.id})"
    made_way = [
        older[key].model_copy(update={"state": "cancelled", "reason": reason}) for key in started.cancelled
    ]
    changes = {
        "state": "started",
        "reason": "",
        "attempts": delivery.attempts + 1,
        "run_id": started.run_id,
        "run_name": started.run_name,
    }
    settle(journal, *made_way, delivery.model_copy(update=changes))
    logger.info(
        "%s: %s started as %s%s",
        delivery.repository,
        delivery.commit[:12],
        started.run_name,
        f", {len(started.cancelled)} older cancelled" if started.cancelled else "",
    )


def _still_wanted(delivery: Delivery, repository: Repository | None) -> Repository:
    """Return the settings of a delivery's repository, which may have changed since it arrived."""
    if repository is None:
        raise Refused(f"{delivery.repository} is no longer among the receiver's repositories")
    if delivery.branch != repository.branch:
        raise Refused(f"the receiver now listens for the branch {repository.branch}")
    return repository


def _older(journal: Journal, delivery: Delivery) -> tuple[Delivery, ...]:
    # A person who replays an old commit does not mean to cancel a newer one.
    return () if delivery.replay_of else earlier(journal, delivery)


def _postpone(journal: Journal, delivery: Delivery, error: NotStarted) -> None:
    attempts = delivery.attempts + 1
    now = time.time()
    # Not from its arrival: it may have waited for long, as after a night without the receiver.
    first = delivery.first_attempt_at or now
    given_up = not now < first + error.patience_s
    reason = str(error) + (_left_behind(journal, delivery) if given_up else "")
    changes = {
        "state": "dead" if given_up else "accepted",
        "reason": reason,
        "attempts": attempts,
        "first_attempt_at": first,
        "next_attempt_at": now + min(MAX_PAUSE_S, 2.0 ** min(attempts - 1, 10)),
    }
    settle(journal, delivery.model_copy(update=changes))
    level = logging.ERROR if given_up or isinstance(error, NotReady) else logging.WARNING
    outcome = "given up; pt-pipeline deliveries replay tries again" if given_up else "tried again later"
    logger.log(level, "%s: %s is %s: %s", delivery.repository, delivery.id, outcome, reason)


def _left_behind(journal: Journal, delivery: Delivery) -> str:
    """Return, in words, which older deliveries made way for one that came to nothing."""
    ended = f"(delivery {delivery.id})"
    older = [
        one.id
        for one in earlier(journal, delivery)
        if one.state == "superseded" and one.reason.endswith(ended)
    ]
    return (
        f"; it took the place of {', '.join(older[:3])}, to be replayed if this one is not" if older else ""
    )
