"""Keep a home in order: finish what dead processes left, close their runs, and remove what no longer serves."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flows.flow_states import at_work, ended_badly, is_told_of, mark_crashed
from flows.home import Home
from flows.maintenance_report import MaintenanceReport
from flows.notices import tell_crashed
from flows.promotable import places_of
from flows.removal import foresee_removal
from flows.removal import remove as remove_unused
from flows.removing import sweep_all
from flows.servers import check_servers
from tasks.closing import OpenRun, close, last_run_of, open_runs
from tasks.outbox import replay_all, runs_that_ended
from tasks.recover import recover

KEEP_LAST = 10


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
    go_on = foresee_removal if dry_run else remove_unused
    return go_on(home, report, keep_last=keep_last)


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
    heartbeat wherever it ran. A run that ended while MLflow was away is not dead: how it ended waits in its outbox.

    Raises:
        StepFailed: MLflow refused or did not answer.
    """
    found = open_runs(home.tracking_uri)
    # Asked afterwards: what is sent in between is found closed by who would close it.
    ended = runs_that_ended(Path(home.root))
    found = tuple(run for run in found if run.run_id not in ended)
    badly = ended_badly(run.flow_run_id for run in found if run.flow_run_id)
    dead = {
        run.run_id
        for run in found
        if run.owner_is_dead or (run.flow_run_id in badly and not run.owner_is_alive)
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
    told = is_told_of(run.flow_run_id)
    tell_crashed(run.pipeline, run.name, why="its process is gone", is_told=told)
