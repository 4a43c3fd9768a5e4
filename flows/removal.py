"""Remove the runs and bundles of a home that no longer serve, while nobody works with them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flows.home import Home
from flows.in_use import choose_unused, known_runs, take_stock
from flows.maintenance_report import Kept, MaintenanceReport, Removed
from flows.removing import Moved, delete, doom, doomed, put_away, put_back, put_left_overs_back, size_of
from flows.retention import Choice
from flows.store_lock import store_alone
from pt_core.errors import PtCoreError, StepFailed
from tasks.aliases import Aliased, aliased_versions
from tasks.dashboard import without_secrets

PATIENCE_S = 10.0
"""How long to wait for runs at work before nothing is removed this time."""
ANSWER_S = 3.0
"""How long MLflow may take to say what is in use while every new run waits for this removal."""

_BUSY = "a run is at work with the bundles of this home, so none were removed; the next maintenance will"


class _Outcome(NamedTuple):
    """What a removal moved to the trash."""

    choice: Choice
    """What was chosen in the end."""
    aliased: tuple[Aliased, ...]
    """The versions in use."""
    moved: tuple[Moved, ...]
    """What is to be deleted."""
    problems: tuple[str, ...]
    """What could not be done, a sentence each."""


def foresee_removal(home: Home, report: MaintenanceReport, *, keep_last: int) -> MaintenanceReport:
    """Say what would be removed.

    Raises:
        StepFailed: MLflow cannot say what is in use.
    """
    stock = take_stock(home, known_runs(home, keep_last=keep_last))
    aliased = aliased_versions(home.tracking_uri)
    choice = choose_unused(home, stock, aliased, keep_last=keep_last, stuck={})
    return _told(home, report, choice, aliased, [Moved(folder, folder) for folder in choice.directories])


def remove(home: Home, report: MaintenanceReport, *, keep_last: int) -> MaintenanceReport:
    """Remove it.

    Raises:
        StepFailed: MLflow cannot say what is in use; nothing is removed then.
    """
    with store_alone(home, patience_s=PATIENCE_S) as alone:
        if not alone:
            return _with(report, _BUSY)
        report = _with(report, *put_left_overs_back(home))
    # Asked while no run has to wait for it.
    known = known_runs(home, keep_last=keep_last)
    with store_alone(home, patience_s=PATIENCE_S) as alone:
        if not alone:
            return _with(report, _BUSY)
        done = _put_unused_away(home, known, keep_last=keep_last)
        going = doomed(home)
        # Measured before another removal may delete it.
        report = _told(home, report, done.choice, done.aliased, done.moved)
    # Renamed away is as good as gone; runs need not wait for the disk.
    return _with(report, *done.problems, *delete(going))


def _put_unused_away(home: Home, known: frozenset[str], *, keep_last: int) -> _Outcome:
    unused = partial(choose_unused, home, take_stock(home, known), keep_last=keep_last)
    # Runs first: one whose record is gone names nothing, one whose bundles are gone names what is not there.
    going = unused(_aliased(home), stuck={}).runs
    moved, problems = put_away(run.directory for run in going)
    stuck = {run.name: "its folder cannot be removed" for run in going if run.directory.exists()}
    try:
        bundles, more = put_away(one.directory for one in unused(_aliased(home), stuck=stuck).bundles)
        moved += bundles
        # An alias that a person or another home moved meanwhile may point at what was just put away.
        aliased = _aliased(home)
        choice = unused(aliased, stuck=stuck)
    except BaseException:
        put_back(moved)
        raise
    last = choice.directories
    failed = put_back(one for one in moved if one.origin not in last)
    gone, stayed = doom(one for one in moved if one.origin in last)
    return _Outcome(choice, aliased, gone, (*problems, *more, *failed, *stayed))


def _aliased(home: Home) -> tuple[Aliased, ...]:
    """Return the versions in use, or give up soon.

    Raises:
        StepFailed: MLflow refused, or is slow.
    """
    answers: queue.SimpleQueue[tuple[Aliased, ...] | PtCoreError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(aliased_versions(home.tracking_uri))
        except PtCoreError as error:
            answers.put(error)

    threading.Thread(target=ask, name="aliases", daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_S)
    except queue.Empty as error:
        raise StepFailed(
            f"MLflow at {without_secrets(home.tracking_uri)}: did not say within {ANSWER_S:g} s what is in use; nothing "
            "was removed, since runs wait for that; the next maintenance will"
        ) from error
    if isinstance(answer, PtCoreError):
        raise answer
    return answer


def _told(
    home: Home, report: MaintenanceReport, choice: Choice, aliased: Sequence[Aliased], moved: Sequence[Moved]
) -> MaintenanceReport:
    removed = tuple(
        Removed(
            kind="run" if one.origin.parent == home.runs else "bundle",
            name=one.origin.name,
            directory=str(one.origin),
            size_bytes=size_of(Path(one.place)),
        )
        for one in moved
    )
    kept = tuple(Kept(name=name, why=why) for name, why in choice.kept.items())
    return report.model_copy(update={"removed": removed, "kept": kept, "num_aliased": len(aliased)})


def _with(report: MaintenanceReport, *problems: str) -> MaintenanceReport:
    return report.model_copy(update={"problems": (*report.problems, *problems)})
