"""Which runs and bundles of a home are in use: by what MLflow's aliases, promotions and unsent entries name."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flows.home import Home
from flows.retention import (
    Choice,
    Marks,
    StoredBundle,
    StoredRun,
    choose,
    marks_in,
    stored_bundles,
    stored_runs,
)
from tasks import journal
from tasks.aliases import Aliased, knows_run
from tasks.dashboard import without_secrets
from tasks.outbox import folders_waiting


class Stock(NamedTuple):
    """What lies in a home, and what there keeps it from being removed."""

    runs: tuple[StoredRun, ...]
    """Finished runs, the newest first."""
    bundles: tuple[StoredBundle, ...]
    """Every bundle and every release."""
    waiting: frozenset[str]
    """Folders that are still to be sent to MLflow."""
    known: Collection[str]
    """Older runs that MLflow has, by their ids there."""


def take_stock(home: Home, known: Collection[str]) -> Stock:
    """Return what lies in a home now; only files are looked at.

    Args:
        home: the home folder.
        known: as :func:`known_runs` has them.

    Raises:
        IntegrityError: an outbox is damaged, so that nobody can know what it waits to send.
    """
    return Stock(
        runs=stored_runs(home.runs),
        bundles=(*stored_bundles(Path(home.store)), *stored_bundles(home.releases)),
        waiting=folders_waiting(Path(home.root)),
        known=known,
    )


def known_runs(home: Home, *, keep_last: int) -> frozenset[str]:
    """Return the ids of those older runs that MLflow has; asking takes long where there are many.

    Raises:
        StepFailed: MLflow refused or did not answer.
    """
    ids = {run.mlflow_run_id for run in _older(stored_runs(home.runs), keep_last)}
    return frozenset(one for one in ids if one and knows_run(home.tracking_uri, one))


def choose_unused(
    home: Home, stock: Stock, aliased: Sequence[Aliased], *, keep_last: int, stuck: Mapping[str, str]
) -> Choice:
    """Return what may be removed of a home.

    Args:
        home: the home folder.
        stock: what lies there.
        aliased: the versions in use.
        keep_last: how many runs of each pipeline stay.
        stuck: further runs that stay, and why.
    """
    held = {
        run.name: why for run in _older(stock.runs, keep_last) if (why := _reason(home, run, stock, aliased))
    }
    return choose(
        stock.runs,
        stock.bundles,
        keep_last=keep_last,
        held={**held, **stuck},
        held_marks=_held_marks(home, aliased, stock.waiting),
        now=time.time(),
    )


def _older(runs: Sequence[StoredRun], keep_last: int) -> tuple[StoredRun, ...]:
    return choose(runs, (), keep_last=keep_last, held={}, held_marks=frozenset(), now=0).runs


def _reason(home: Home, run: StoredRun, stock: Stock, aliased: Sequence[Aliased]) -> str | None:
    """Return why an older run stays: in use, in promotion, not sent yet, or not known to this MLflow."""
    return next(_reasons(home, run, stock, aliased), None)


def _reasons(home: Home, run: StoredRun, stock: Stock, aliased: Sequence[Aliased]) -> Iterator[str]:
    for version in aliased:
        if run.name == version.run_name or run.mlflow_run_id in version.mlflow_run_ids:
            yield version.sentence
    yield from _promotions_of(home, run)
    if any(str(run.directory) in folder for folder in stock.waiting):
        yield "some of it is still to be sent to MLflow"
    if run.mlflow_run_id not in stock.known:
        yield _unknown(home, run)


def _promotions_of(home: Home, run: StoredRun) -> Iterator[str]:
    for promotion in journal.read_all(home.promotions):
        if promotion.run_name == run.name and not promotion.has_ended:
            yield f"the {promotion.kind} {promotion.id} has not ended"
    for path, text in journal.unreadable(home.promotions).items():
        if run.name in text:
            yield f"{path} names it, and is no journal that this version reads"


def _unknown(home: Home, run: StoredRun) -> str:
    """Return why nobody here can say whether a run is in use: another MLflow may have an alias of it."""
    if run.mlflow_run_id is None:
        return "its result names no run in MLflow, which was away when it ended"
    return f"its MLflow run is not in {without_secrets(home.tracking_uri)}"


def _held_marks(home: Home, aliased: Sequence[Aliased], waiting: frozenset[str]) -> Marks:
    here = without_secrets(home.tracking_uri)
    promoting = [
        one.to_json()
        for one in journal.read_all(home.promotions)
        if not one.has_ended or one.tracking_uri not in (None, here)
    ]
    unreadable = journal.unreadable(home.promotions).values()
    return marks_in("\n".join([*(one.text for one in aliased), *promoting, *unreadable, *waiting]))
