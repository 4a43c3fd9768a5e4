"""What becomes of deliveries when Prefect fails, with the real journal and the real dispatcher."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from receiving import commit

from deployments.webhook.dispatcher import attempt, dispatch
from deployments.webhook.journal import KEPT_DAYS, Delivery, add, drop_ended, find, next_waiting
from deployments.webhook.journal_file import Journal, open_journal
from deployments.webhook.runs import NotStarted, Refused, Started, Unreachable
from deployments.webhook.show import replay_delivery
from deployments.webhook_config import Repository
from flows.home import Home
from pt_core.errors import ConfigError

REPOSITORY = Repository(name="team/models", provider="github", clone_url="https://git.example/models.git")
WEEK_S = 7 * 86_400


def accepted(journal: Journal, number: int) -> Delivery:
    entry = add(
        journal,
        Delivery(
            id=f"d-{number}",
            repository=REPOSITORY.name,
            branch="main",
            commit=commit(number),
            received_at=time.time() - WEEK_S,
        ),
    )
    return entry.delivery


def tried(journal: Journal, error: NotStarted) -> Delivery:
    """Try the next delivery once while Prefect fails so, and return what became of it."""

    def start(delivery: Delivery, repository: Repository, *, older_keys: Sequence[str]) -> Started:
        raise error

    delivery = next_waiting(journal)
    assert delivery is not None
    attempt(journal, delivery, REPOSITORY, start)
    return find(journal, delivery.id)[0]


def test_patience_begins_with_the_first_try_however_long_a_delivery_waited(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    accepted(journal, 1)
    assert tried(journal, Unreachable("away")).state == "accepted"
    with sqlite3.connect(journal.path) as database:
        database.execute("UPDATE deliveries SET first_attempt_at = first_attempt_at - 86401")
    database.close()
    assert tried(journal, Unreachable("away")).state == "dead"


def test_a_delivery_that_comes_to_nothing_names_those_that_made_way_for_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    accepted(journal, 1)
    accepted(journal, 2)
    dead = tried(journal, Refused("no"))
    assert (dead.id, dead.state) == ("d-2", "dead")
    assert dead.reason == "no; it took the place of d-1, to be replayed if this one is not"


def test_what_made_way_and_what_was_started_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    def start(delivery: Delivery, repository: Repository, *, older_keys: Sequence[str]) -> Started:
        return Started(run_id="r", run_name="n", cancelled=tuple(older_keys))

    journal = open_journal(tmp_path)
    attempt(journal, find(journal, accepted(journal, 1).id)[0], REPOSITORY, start)
    accepted(journal, 2)
    with sqlite3.connect(journal.path) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON deliveries WHEN NEW.id = 'd-2' "
            "BEGIN SELECT RAISE(FAIL, 'disk full'); END"
        )
    with pytest.raises(sqlite3.Error, match="disk full"):
        attempt(journal, find(journal, "d-2")[0], REPOSITORY, start)
    assert [one.state for one in find(journal, "d-")] == ["started", "accepted"]
    database.execute("DROP TRIGGER full")
    database.close()
    attempt(journal, find(journal, "d-2")[0], REPOSITORY, start)
    assert [one.state for one in find(journal, "d-")] == ["cancelled", "started"]


def test_a_journal_of_an_earlier_version_gets_what_it_lacks(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with sqlite3.connect(journal.path) as database:
        for kind, name in (("INDEX", "on_top"), ("TABLE", "dropped")):
            database.execute(f"DROP {kind} {name}")
        for name in ("before", "first_attempt_at"):
            database.execute(f'ALTER TABLE deliveries DROP COLUMN "{name}"')
    database.close()
    accepted(open_journal(tmp_path), 1)
    assert next_waiting(journal) is not None


def test_one_id_in_two_repositories_is_told_apart_by_the_repository(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "webhooks")
    for name in ("team/one", "team/two"):
        add(journal, Delivery(id="d", repository=name, branch="main", commit=commit(1), received_at=0))
    home = Home(root=str(tmp_path))
    with pytest.raises(ConfigError, match="or --repository"):
        replay_delivery("d", home, repository=None, as_json=True)
    replay_delivery("d", home, repository="team/two", as_json=True)
    assert [one.repository for one in find(journal, "d.replay1")] == ["team/two"]


def test_a_push_costs_the_same_however_many_there_were(tmp_path: Path) -> None:
    journal, num = open_journal(tmp_path), 30_000
    rows = [(f"old-{n}", REPOSITORY.name, "main", commit(n + 1), commit(n), n, "started") for n in range(num)]
    names = 'id, repository, branch, "commit", "before", received_at, state'
    with sqlite3.connect(journal.path) as database:
        database.executemany(f"INSERT INTO deliveries ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    database.close()
    began = time.thread_time()

    for n in range(num, num + 20):
        new = Delivery(
            id=f"d-{n}",
            repository=REPOSITORY.name,
            branch="main",
            commit=commit(n + 1),
            before=commit(n),
            received_at=n,
        )
        assert add(journal, new).is_new

    assert (time.thread_time() - began) / 20 < 0.02
    late = new.model_copy(update={"id": "late", "commit": commit(num - 3), "before": commit(num - 4)})
    assert add(journal, late).delivery.state == "superseded"


def test_what_ended_long_ago_is_dropped_and_what_somebody_may_still_need_is_not(tmp_path: Path) -> None:
    def put(name: str, state: str, days: float, **more: object) -> Delivery:
        received_at = time.time() - days * 86_400
        delivery = Delivery(
            id=name, repository="a/b", branch="main", commit=commit(1), received_at=received_at, **more
        )
        # As it was when it came: nothing has happened to it but what its state says.
        add(journal, delivery.model_copy(update={"state": state, "replay_of": "x"}))
        return delivery

    journal, old, young = open_journal(tmp_path), KEPT_DAYS + 1, KEPT_DAYS - 1
    signed = put("signed", "started", old, body_sha256="5ca1ab1e")
    gone = [put(f"old-{state}", state, old) for state in ("started", "superseded", "cancelled")]
    kept = [put(f"old-{state}", state, old) for state in ("accepted", "dead")]
    kept += [put(f"young-{state}", state, young) for state in ("started", "superseded", "cancelled")]
    stop = iter([False, True])

    dispatch(journal, {}, not_called, wake=threading.Event(), stop=lambda: next(stop))

    assert {one.id for one in find(journal, "")} == {one.id for one in kept}
    copy = add(journal, signed.model_copy(update={"id": "another", "received_at": time.time()}))
    assert (copy.is_new, copy.delivery) == (False, None), "a request that was overheard starts nothing"
    assert add(journal, gone[0]).is_new, "nothing is known of it any more"
    assert drop_ended(journal, received_before=0) == 0


def not_called(delivery: Delivery, repository: Repository, *, older_keys: Sequence[str]) -> Started:
    raise Refused("there is no such repository")
