"""pt-pipeline deliveries: what the journal says, and a delivery started once more."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from rich.markup import escape
from rich.table import Table

from deployments.webhook.journal import Delivery, State, add, find, latest
from deployments.webhook.journal_file import Journal, open_journal
from flows.cli.output import print_json, print_line, results
from flows.home import Home
from pt_core.errors import ConfigError

_COLOURS = {"accepted": "yellow", "started": "green", "dead": "red"}


def list_deliveries(home: Home, *, last: int, state: State | None, as_json: bool) -> None:
    """Print the latest deliveries, oldest first.

    Raises:
        ConfigError: the journal cannot be read.
    """
    found = latest(_journal(home), last=last, state=state)
    if as_json:
        print_json([_document(delivery) for delivery in found])
        return
    if not found:
        results.print("no deliveries" + (f" that are {state}" if state else ""))
        return
    table = Table(
        "received", "id", "repository", "branch", "commit", "state", "run", box=None, pad_edge=False
    )
    for one in found:
        state_text = f"[{_COLOURS.get(one.state, 'dim')}]{one.state}[/]"
        plain = [_when(one), one.id, one.repository, one.branch, one.commit[:12]]
        table.add_row(*(escape(text) for text in plain), state_text, escape(one.run_name or "-"))
    results.print(table)


def show_delivery(identity: str, home: Home, *, repository: str | None, as_json: bool) -> None:
    """Print one delivery.

    Raises:
        ConfigError: there is none of that id, or more than one.
    """
    delivery = _one(_journal(home), identity, repository)
    if as_json:
        print_json(_document(delivery))
        return
    for name, value in _document(delivery).items():
        if value not in (None, ""):
            print_line(name.replace("_", " "), str(value))


def replay_delivery(identity: str, home: Home, *, repository: str | None, as_json: bool) -> None:
    """Put a delivery into the journal once more, under an id of its own.

    Raises:
        ConfigError: there is none of that id, or more than one.
    """
    journal = _journal(home)
    old = _one(journal, identity, repository)
    first = old.replay_of or old.id
    replays = sum(one.replay_of == first and one.repository == old.repository for one in find(journal, first))
    new = Delivery(
        # Prefect keeps its keys for longer than a journal lives: the same id again would start nothing.
        id=f"{first}.replay{replays + 1}-{token_hex(3)}",
        repository=old.repository,
        branch=old.branch,
        commit=old.commit,
        received_at=time.time(),
        replay_of=first,
    )
    if not add(journal, new).is_new:
        raise ConfigError(f"{new.id}: somebody replays {first} at this moment; look at it and try again")
    if as_json:
        print_json(_document(new))
        return
    results.print(
        f"accepted {escape(new.id)}: a run at {new.commit[:12]} starts when the receiver runs", soft_wrap=True
    )


def _journal(home: Home) -> Journal:
    return open_journal(Path(home.root) / "webhooks")


def _one(journal: Journal, identity: str, repository: str | None) -> Delivery:
    found = [one for one in find(journal, identity) if repository in (None, one.repository)]
    exact = [one for one in found if one.id == identity]
    chosen = exact or found
    if not chosen:
        raise ConfigError(f"{identity}: there is no such delivery; pt-pipeline deliveries lists them")
    if len(chosen) > 1:
        raise ConfigError(
            f"{identity}: {len(chosen)} deliveries begin so; give more of the id, or --repository",
            details=[f"{one.id}  {one.repository}" for one in chosen],
        )
    return chosen[0]


def _document(delivery: Delivery) -> dict[str, object]:
    hidden = {"seq", "received_at", "next_attempt_at", "body_sha256"}
    return {"received": _when(delivery), **delivery.model_dump(mode="json", exclude=hidden)}


def _when(delivery: Delivery) -> str:
    return datetime.fromtimestamp(delivery.received_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
