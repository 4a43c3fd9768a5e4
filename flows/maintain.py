"""Keep a home in order: finish what dead processes left, close their runs, and remove what no longer serves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from flows.flow_states import at_work, ended_badly, is_told_of, mark_crashed
from flows.home import Home
from flows.maintenance_report import Kept, MaintenanceReport, Removed
from flows.notices import tell_crashed
from flows.promotable import places_of
from flows.removing import empty, put_away, size_of, sweep_all, trash_of
from flows.retention import Choice, Marks, StoredRun, choose, marks_in, stored_bundles, stored_runs
from flows.servers import check_servers
from flows.store_lock import store_alone
from tasks import journal
from tasks.aliases import Aliased, aliased_versions, knows_run
from tasks.closing import OpenRun, close, last_run_of, open_runs
from tasks.dashboard import without_secrets
from tasks.outbox import folders_waiting, replay_all
from tasks.recover import recover

KEEP_LAST = 10
PATIENCE_S = 10.0
"""How long to wait for runs at work before nothing is removed this time."""


def maintain(
    home: Home, *, keep_last: int = KEEP_LAST, remove: bool = True, dry_run: bool = False
) -> MaintenanceReport:
    """Do all of it and return what was done; a dry run changes nothing.

    Args:
        home: the home folder.
        keep_last: how many runs of each pipeline stay, with their bundles.
        remove: whether older ones are removed; what dead processes left is closed all the same.
        dry_run: only say what would be removed.

    Raises:
        ConfigError: a server does not answer.
        StepFailed: MLflow cannot say what is in use; nothing is removed then.
    """
    check_servers(home)
    report = MaintenanceReport(home=home.root, dry_run=dry_run)
    if not dry_run:
        report = _finish(home, report)
    if not remove:
        return report
    if dry_run:
        return _removal(home, report, keep_last=keep_last)
    with store_alone(home, patience_s=PATIENCE_S) as alone:
        if not alone:
            busy = "a run is at work with the bundles of this home, so none were removed; the next maintenance will"
            return report.model_copy(update={"problems": (*report.problems, busy)})
        report = _removal(home, report, keep_last=keep_last)
    # Renamed away is as good as gone; runs need not wait for the disk.
    return report.model_copy(update={"problems": (*report.problems, *empty(trash_of(home)))})


def _finish(home: Home, report: MaintenanceReport) -> MaintenanceReport:
    num_left_overs = sweep_all(home)
    settled = recover(places_of(home))
    # Asked before the outboxes are sent, which may close what their processes left open.
    dead = dead_runs(home)
    replayed = replay_all(Path(home.root), home.tracking_uri)
    closed = close_runs(home, dead)
    crash_forgotten(home)
    return report.model_copy(
        update={
            "num_left_overs": num_left_overs,
            "settled": tuple(f"{one.kind} {one.id} of {one.uri}: {one.note}" for one in settled),
            "num_sent": sum(one.num_sent for one in replayed),
            "closed": tuple(f"{run.pipeline}/{run.name}" for run in closed),
            "problems": tuple(f"{one.path}: {one.problem}" for one in replayed if one.problem),
        }
    )


def dead_runs(home: Home) -> tuple[OpenRun, ...]:
    """Return the open runs whose process is gone, with their variants.

    It is gone if this machine says so; where that cannot know, if Prefect does, which is told by the silence of a run's
    heartbeat wherever it ran.

    Raises:
        StepFailed: MLflow refused or did not answer.
    """
    found = open_runs(home.tracking_uri)
    ended = ended_badly(run.flow_run_id for run in found if run.flow_run_id)
    dead = {
        run.run_id
        for run in found
        if run.owner_is_dead or (run.flow_run_id in ended and not run.owner_is_alive)
    }
    return tuple(run for run in found if run.run_id in dead or run.parent_id in dead)


def close_runs(home: Home, runs: Iterable[OpenRun]) -> tuple[OpenRun, ...]:
    """Close dead runs in MLflow and in Prefect; return those that did not end well before they died.

    Raises:
        StepFailed: MLflow refused or did not answer.
    """
    closed = tuple(run for run in runs if close(home.tracking_uri, run.run_id))
    for run in closed:
        if run.parent_id is None:
            mark_crashed(run.flow_run_id, started_ms=run.started_ms)
            _tell(run)
    return closed


def crash_forgotten(home: Home) -> None:
    """Tell Prefect of flow runs whose process is gone though MLflow has nothing open: the next run has closed it.

    Raises:
        StepFailed: MLflow refused or did not answer.
    """
    for flow_run_id in at_work():
        run = last_run_of(home.tracking_uri, flow_run_id)
        if run and run.owner_is_dead and mark_crashed(flow_run_id, started_ms=run.started_ms):
            _tell(run)


def _tell(run: OpenRun) -> None:
    if not is_told_of(run.flow_run_id):
        tell_crashed(run.pipeline, run.name, why="its process is gone")


def _removal(home: Home, report: MaintenanceReport, *, keep_last: int) -> MaintenanceReport:
    aliased, waiting = aliased_versions(home.tracking_uri), folders_waiting(Path(home.root))
    runs = stored_runs(home.runs)
    choice = choose(
        runs,
        (*stored_bundles(Path(home.store)), *stored_bundles(home.releases)),
        keep_last=keep_last,
        held=_held(home, runs, aliased, waiting, keep_last=keep_last),
        held_marks=_held_marks(home, aliased, waiting),
        now=time.time(),
    )
    removed = _described(choice)
    problems = report.problems
    if not report.dry_run:
        problems += put_away([Path(one.directory) for one in removed], trash_of(home))
        removed = tuple(one for one in removed if not Path(one.directory).exists())
    return report.model_copy(
        update={
            "removed": removed,
            "kept": tuple(Kept(name=name, why=why) for name, why in choice.kept.items()),
            "num_aliased": len(aliased),
            "problems": problems,
        }
    )


def _held(
    home: Home,
    runs: Sequence[StoredRun],
    aliased: Sequence[Aliased],
    waiting: frozenset[str],
    *,
    keep_last: int,
) -> dict[str, str]:
    """Return the older runs that stay, and why: in use, in promotion, not sent yet, or not known to this MLflow."""
    unsent = "\n".join(waiting)
    by_name = {one.run_name: one.sentence for one in aliased if one.run_name}
    by_id = {run_id: one.sentence for one in aliased for run_id in one.mlflow_run_ids}
    promoting = {
        one.run_name: f"the {one.kind} {one.id} has not ended"
        for one in journal.read_all(home.promotions)
        if not one.has_ended and one.run_name
    }
    held: dict[str, str] = {}
    for run in choose(runs, (), keep_last=keep_last, held={}, held_marks=frozenset(), now=0).runs:
        why = by_name.get(run.name) or by_id.get(run.mlflow_run_id or "") or promoting.get(run.name)
        why = why or ("some of it is still to be sent to MLflow" if str(run.directory) in unsent else None)
        why = why or _unknown(home, run)
        if why:
            held[run.name] = why
    return held


def _unknown(home: Home, run: StoredRun) -> str | None:
    """Return why nobody here can say whether a run is in use: another MLflow may have an alias of it."""
    if run.mlflow_run_id and knows_run(home.tracking_uri, run.mlflow_run_id):
        return None
    return f"its MLflow run is not in {without_secrets(home.tracking_uri)}"


def _held_marks(home: Home, aliased: Sequence[Aliased], waiting: frozenset[str]) -> Marks:
    here = without_secrets(home.tracking_uri)
    promoting = [
        one.to_json()
        for one in journal.read_all(home.promotions)
        if not one.has_ended or one.tracking_uri not in (None, here)
    ]
    return marks_in("\n".join([*(one.text for one in aliased), *promoting, *waiting]))


def _described(choice: Choice) -> tuple[Removed, ...]:
    runs = [
        Removed(
            kind="run",
            name=run.name,
            directory=str(run.directory),
            size_bytes=size_of(run.directory),
        )
        for run in choice.runs
    ]
    bundles = [
        Removed(
            kind="bundle",
            name=bundle.directory.name,
            directory=str(bundle.directory),
            size_bytes=size_of(bundle.directory),
        )
        for bundle in choice.bundles
    ]
    # Bundles last: a run whose record is gone names nothing, one whose bundles are gone names what is not there.
    return (*runs, *bundles)
