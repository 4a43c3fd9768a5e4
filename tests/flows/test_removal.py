"""Removal where something is in its way: what became needed meanwhile, what cannot be moved, what nobody can read."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient
from old_homes import champion, home
from promotable import MODEL

from flows import removal
from flows.cli.predict import predict
from flows.cli.promote import promote, rollback
from flows.cli.rebuild import rebuild
from flows.home import Home
from flows.in_use import known_runs
from flows.maintain import maintain
from flows.maintenance_report import MaintenanceReport
from flows.removing import Moved, in_trash, put_away, size_of
from flows.score import scored
from flows.store_lock import store_alone
from pt_core.bundle import is_intact, open_bundle
from pt_core.decision.result import RunResult
from pt_core.errors import PtCoreError, StepFailed
from pt_core.limits import Limits

__all__ = ["champion", "home"]


def test_what_an_alias_names_meanwhile_is_put_back(
    home: tuple[Home, RunResult, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, _, bundles = home
    client = MlflowClient(at.tracking_uri, registry_uri=at.tracking_uri)
    version = client.create_model_version(MODEL, "file:///nowhere", tags={"run_name": "later-0"})

    def put_away_while_an_alias_moves(
        folders: Iterable[Path],
    ) -> tuple[tuple[Moved, ...], tuple[str, ...]]:
        done = put_away(folders)
        if any(one.origin in bundles for one in done[0]):
            client.set_registered_model_alias(MODEL, "champion", version.version)
        return done

    monkeypatch.setattr(removal, "put_away", put_away_while_an_alias_moves)
    told = maintain(at, keep_last=2)
    assert (at.runs / "later-0" / "run.json").exists()
    assert [path.exists() for path in bundles] == [True, False, True, True]
    assert {one.name for one in told.removed if one.kind == "run"} == {"later-1"}
    assert "@champion points at" in {one.name: one.why for one in told.kept}["later-0"]
    assert in_trash(at) == ()


def killed_removal(at: Home, *, at_call: str) -> None:
    """Remove what no longer serves, in a process that kills itself where it would call a function of its own."""
    code = (
        "import os, signal, sys; from flows import removal; from flows.home import Home\n"
        "from flows.maintenance_report import MaintenanceReport\n"
        "def die(*given): os.kill(os.getpid(), signal.SIGKILL)\n"
        "setattr(removal, sys.argv[2], die)\n"
        "at = Home(root=sys.argv[1])\n"
        "removal.remove(at, MaintenanceReport(home=at.root, dry_run=False), keep_last=2)"
    )
    paths = os.pathsep.join(map(str, (Path(__file__).parents[1] / "support", Path(__file__).parents[2])))
    command = [sys.executable, "-c", code, at.root, at_call]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False)
    assert ran.returncode == -signal.SIGKILL


def test_what_an_alias_names_since_a_removal_was_killed_is_put_back(
    home: tuple[Home, RunResult, list[Path]],
) -> None:
    at, _, bundles = home
    digests = [open_bundle(path)[0].digest for path in bundles]
    client = MlflowClient(at.tracking_uri, registry_uri=at.tracking_uri)
    version = client.create_model_version(MODEL, "file:///nowhere", tags={"run_name": "later-0"})
    killed_removal(at, at_call="put_back")  # all is moved, and the aliases were looked at
    assert [path.exists() for path in bundles] == [False, False, True, True]
    client.set_registered_model_alias(MODEL, "previous", version.version)
    told = maintain(at, keep_last=2)
    assert (at.runs / "later-0" / "run.json").exists()
    assert is_intact(bundles[0], digests[0])
    assert {one.name for one in told.removed if one.kind == "run"} == {"later-1"}
    assert [path.exists() for path in bundles] == [True, False, True, True]
    assert (told.problems, in_trash(at)) == ((), ())


def test_what_a_killed_removal_had_doomed_is_deleted_unasked(
    home: tuple[Home, RunResult, list[Path]],
) -> None:
    at, _, bundles = home
    killed_removal(at, at_call="delete")
    assert len(in_trash(at)) == 5
    told = maintain(at, keep_last=2)
    assert (told.removed, told.problems, in_trash(at)) == ((), (), ())
    assert [path.exists() for path in bundles] == [False, False, True, True]


def test_what_was_made_again_since_a_removal_was_killed_stays_and_its_old_copy_goes(
    home: tuple[Home, RunResult, list[Path]],
) -> None:
    at, _, bundles = home
    shutil.copytree(bundles[3], at.store + "/.again")
    put_away([bundles[3]])
    Path(at.store, ".again").rename(bundles[3])
    told = maintain(at, keep_last=4)
    assert is_intact(bundles[3], open_bundle(bundles[3])[0].digest)
    assert (told.problems, in_trash(at)) == ((), ())


def test_another_removal_that_deletes_what_one_has_moved_changes_nothing_it_tells(
    home: tuple[Home, RunResult, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, _, _ = home
    foreseen = maintain(at, keep_last=2, dry_run=True).removed
    others: list[MaintenanceReport] = []

    @contextlib.contextmanager
    def alone_and_then_another(at: Home, *, patience_s: float) -> Iterator[bool]:
        with store_alone(at, patience_s=patience_s) as alone:
            yield alone
        if in_trash(at) and not others:
            others.append(MaintenanceReport(home=at.root, dry_run=False))
            others.append(removal.remove(at, others[0], keep_last=2))

    monkeypatch.setattr(removal, "store_alone", alone_and_then_another)
    told = maintain(at, keep_last=2)
    assert (told.removed, told.problems) == (foreseen, ())
    assert [(one.removed, one.problems) for one in others] == [((), ())] * 2


def test_two_maintenances_at_once_both_end_well(home: tuple[Home, RunResult, list[Path]]) -> None:
    at, _, bundles = home
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda _: maintain(at, keep_last=2), range(2)))
    assert sorted(len(one.removed) for one in told) == [0, 5]
    assert [one.problems for one in told] == [(), ()]
    assert [path.exists() for path in bundles] == [False, False, True, True]
    assert in_trash(at) == ()


def test_what_is_removed_while_it_is_measured_counts_as_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stays").write_bytes(b"12345")
    (tmp_path / "goes").write_bytes(b"123")
    assert size_of(tmp_path) == 8
    lstat = Path.lstat

    def lstat_of_what_goes(path: Path) -> os.stat_result:
        (tmp_path / "goes").unlink(missing_ok=True)
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", lstat_of_what_goes)
    assert size_of(tmp_path) == 5
    assert size_of(tmp_path / "none") == 0


def test_a_slow_mlflow_does_not_hold_runs_up(
    home: tuple[Home, RunResult, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, _, bundles = home
    monkeypatch.setattr(removal, "ANSWER_S", 0.5)
    known = known_runs(at, keep_last=2)
    monkeypatch.setattr(removal, "known_runs", lambda home, keep_last: known)
    with contextlib.closing(sqlite3.connect(Path(at.root) / "mlflow.db")) as database:
        database.execute("begin exclusive")
        started = time.monotonic()
        with pytest.raises(StepFailed, match="did not say within"):
            removal.remove(at, MaintenanceReport(home=at.root, dry_run=False), keep_last=2)
        assert time.monotonic() - started < 4
        with store_alone(at, patience_s=0) as alone:
            assert alone
    assert all(path.exists() for path in bundles)


def test_the_bundles_of_a_run_that_cannot_be_moved_stay(home: tuple[Home, RunResult, list[Path]]) -> None:
    at, _, bundles = home
    (at.runs / ".trash").write_text("in the way")
    told = maintain(at, keep_last=2)
    assert all(path.exists() for path in bundles)
    assert [one.kind for one in told.removed] == ["bundle"]  # that of a failed run
    assert {one.name for one in told.kept if one.why == "its folder cannot be removed"} == {
        "later-0",
        "later-1",
    }
    assert len(told.problems) == 2


def test_what_a_journal_of_another_version_names_stays(home: tuple[Home, RunResult, list[Path]]) -> None:
    at, _, bundles = home
    later = {"version": 99, "of": "later-0", "bundle": bundles[1].name[-12:]}
    (at.promotions / "newer.json").write_text(json.dumps(later))
    told = maintain(at, keep_last=2)
    assert {one.name for one in told.removed if one.kind == "run"} == {"later-1"}
    assert "newer.json names it" in {one.name: one.why for one in told.kept}["later-0"]
    assert all(path.exists() for path in bundles)


def test_a_run_that_ended_without_mlflow_is_kept_for_that_reason(
    home: tuple[Home, RunResult, list[Path]],
) -> None:
    at, _, _ = home
    path = at.runs / "later-0" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "mlflow_run_id": None}))
    told = maintain(at, keep_last=2, dry_run=True)
    assert "names no run in MLflow" in {one.name: one.why for one in told.kept}["later-0"]


def _roll_back(at: Home) -> None:
    rollback(at, model=MODEL, to=None, as_json=True)


def _promote(at: Home) -> None:
    promote("none", None, at, model=None, force=False, reason=None, approval=None, as_json=True)


def _predict(at: Home) -> None:
    predict(at.root, [], at, as_json=True)


def _rebuild(at: Home) -> None:
    rebuild(Path(at.root), at, as_json=True)


def _score(at: Home) -> None:
    scored(
        at,
        at.root,
        "none",
        "none",
        bad_rows="refuse",
        id_column=None,
        overwrite=False,
        limits=Limits(timeout_s=60),
        trust_unsigned=(),
    )


@pytest.mark.parametrize("work", [_roll_back, _promote, _predict, _rebuild, _score])
def test_who_works_with_bundles_waits_for_a_removal_and_says_so(
    work: Callable[[Home], None],
    tmp_path: Path,
    hear: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("PT_PIPELINE_HOME", str(tmp_path))
    at, told, ended = Home(root=str(tmp_path)), hear("flows.store_lock"), []

    def go() -> None:
        try:
            work(at)
        except PtCoreError as error:
            ended.append(error)

    thread = threading.Thread(target=go)
    with store_alone(at, patience_s=0) as alone:
        assert alone
        thread.start()
        end = time.monotonic() + 20
        while not told and thread.is_alive() and time.monotonic() < end:
            time.sleep(0.02)
        assert "waiting for a maintenance to end" in told[0]
        assert ended == []
    thread.join()
    assert len(ended) == 1  # since there is nothing to work with
