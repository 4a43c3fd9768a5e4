"""Maintenance on a home with a real MLflow: what is in use stays, what dead processes left is closed, nothing half-removed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient
from old_homes import champion, home, make_bundle
from promotable import MODEL, places_in
from typer.testing import CliRunner

from flows.__main__ import app
from flows.home import Home
from flows.maintain import maintain
from flows.removing import in_trash
from flows.store_lock import store_alone, store_in_use
from pt_core.bundle import is_intact, open_bundle
from pt_core.decision.result import RunResult
from pt_core.errors import ConfigError, StepFailed
from tasks import tracking
from tasks.closing import open_runs

__all__ = ["champion", "home"]

PATHS = os.pathsep.join(map(str, (Path(__file__).parents[1] / "support", Path(__file__).parents[2])))


def bundles_of(result: RunResult) -> set[Path]:
    variants = [one for variant in result.variants for one in (variant.artifact, variant.evaluation) if one]
    return {Path(one.directory) for one in (result.dataset, result.checkpoint, *variants)}


def test_old_runs_go_and_what_the_champion_rests_on_stays(home: tuple[Home, RunResult, list[Path]]) -> None:
    at, result, bundles = home
    before = sum(path.stat().st_size for path in Path(at.store).rglob("*") if path.is_file())
    told = maintain(at, keep_last=2)
    assert {one.name for one in told.removed if one.kind == "run"} == {"later-0", "later-1"}
    assert [path.exists() for path in bundles] == [False, False, True, True]
    assert (at.runs / result.run_name / "run.json").exists()
    assert [(one.name, one.why) for one in told.kept] == [
        (result.run_name, f"@champion points at models:/{MODEL}/1")
    ]
    for path in bundles_of(result):
        assert is_intact(path, open_bundle(path)[0].digest), path
    after = sum(path.stat().st_size for path in Path(at.store).rglob("*") if path.is_file())
    assert told.num_aliased == 1
    assert sum(one.size_bytes for one in told.removed if one.kind == "bundle") == before - after > 0
    assert in_trash(at) == ()
    # Nothing is left to do.
    assert maintain(at, keep_last=2).removed == ()


def test_a_dry_run_tells_the_same_and_changes_nothing(home: tuple[Home, RunResult, list[Path]]) -> None:
    at, _, _ = home
    before = sorted(Path(at.root).rglob("*"))
    ran = CliRunner().invoke(app, ["maintenance", "--keep", "2", "--dry-run", "--json", "--home", at.root])
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["dry_run"]) == (0, True)
    assert [path for path in sorted(Path(at.root).rglob("*")) if path not in before] == []
    assert [path for path in before if not path.exists()] == []
    ran = CliRunner().invoke(app, ["maintenance", "--keep", "2", "--home", at.root])
    assert "2 runs and 3 bundles removed" in ran.stdout
    assert [one["directory"] for one in told["removed"] if Path(one["directory"]).exists()] == []


def test_nothing_is_removed_while_a_run_is_at_work_and_a_killed_one_holds_nothing_up(
    home: tuple[Home, RunResult, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, _, bundles = home
    monkeypatch.setattr("flows.removal.PATIENCE_S", 0.3)
    code = (
        "import sys, time; from flows.home import Home; from flows.store_lock import store_in_use\n"
        "with store_in_use(Home(root=sys.argv[1])): print('in', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, at.root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": PATHS}) as run:
        try:
            assert run.stdout is not None
            assert run.stdout.readline() == b"in\n"
            told = maintain(at, keep_last=2)
            assert told.removed == ()
            assert "a run is at work" in told.problems[0]
            assert all(path.exists() for path in bundles)
        finally:
            run.kill()
    assert len(maintain(at, keep_last=2).removed) == 5


def test_runs_share_the_bundles_and_removal_has_them_alone(tmp_path: Path) -> None:
    at = Home(root=str(tmp_path))
    with store_in_use(at), store_in_use(at), store_alone(at, patience_s=0) as alone:
        assert not alone
    with store_alone(at, patience_s=0) as alone, store_alone(at, patience_s=0) as other:
        assert (alone, other) == (True, False)


def test_nothing_is_removed_where_mlflow_does_not_say_what_is_in_use(
    home: tuple[Home, RunResult, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, _, _ = home
    before = sorted(Path(at.root).rglob("*"))
    with refusing() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(StepFailed, match="MLflow at"):
            maintain(at, keep_last=1)
        with pytest.raises(StepFailed, match="MLflow at"):
            maintain(at, keep_last=1, dry_run=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="does not answer"):
        maintain(at, keep_last=1)
    assert [path for path in before if not path.exists()] == []


def test_runs_of_another_mlflow_stay(
    home: tuple[Home, RunResult, list[Path]],
    champion: tuple[Path, RunResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at, _, bundles = home
    # The database without the later runs: the one that this home was copied with.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", places_in(champion[0]).tracking_uri)
    told = maintain(at, keep_last=2)
    assert [one.name for one in told.removed if one.kind == "run"] == []
    assert {one.name for one in told.kept if "its MLflow run is not in" in one.why} == {"later-0", "later-1"}
    assert all(path.exists() for path in bundles)


def test_the_run_of_a_killed_process_is_closed_and_that_of_a_living_one_is_not(
    home: tuple[Home, RunResult, list[Path]],
) -> None:
    at, _, _ = home
    uri = at.tracking_uri
    code = (
        "import os, sys, signal; from tasks import tracking\n"
        "run = tracking.start_run(sys.argv[1], experiment='dies', run_name='killed', artifact_root=sys.argv[2], tags={})\n"
        "print(run.run_id, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", code, uri, at.mlflow_artifacts]
    ran = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": PATHS}, check=False
    )
    killed = ran.stdout.strip()
    living = tracking.start_run(
        uri, experiment="lives", run_name="living", artifact_root=at.mlflow_artifacts, tags={}
    )
    assert {run.run_id for run in open_runs(uri)} == {killed, living.run_id}
    assert maintain(at, remove=False).closed == ("dies/killed",)
    client = MlflowClient(uri)
    assert client.get_run(killed).info.status == "KILLED"
    assert client.get_run(living.run_id).info.status == "RUNNING"
    tracking.finish_run(living, "FINISHED")


def kill_while_removing(root: Path, after_s: float) -> bool:
    """Remove half of the bundles of a store in a process that is killed; return whether it was still at it."""
    code = (
        "import sys; from pathlib import Path; from flows.removing import delete, put_away\n"
        "root = Path(sys.argv[1]); going = sorted((root / 'store').glob('evaluation-*'))[::2]\n"
        "print('go', flush=True); delete(one.place for one in put_away(going)[0])"
    )
    command = [sys.executable, "-c", code, str(root)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": PATHS}
    ) as removal:
        assert removal.stdout is not None
        removal.stdout.readline()
        time.sleep(after_s)
        was_at_it = removal.poll() is None
        removal.kill()
    return was_at_it


def check_kills(root: Path, num_kills: int) -> int:
    num_hit = 0
    for number in range(num_kills):
        made = [make_bundle(root / "store", f"{number} {one}")[0] for one in range(20)]
        num_hit += kill_while_removing(root, 0.002 * (number % 8))
        for path in made:
            assert not path.exists() or is_intact(path, open_bundle(path)[0].digest), path
        shutil.rmtree(root / "store")
    return num_hit


def test_a_killed_removal_leaves_every_bundle_whole_or_gone(tmp_path: Path) -> None:
    assert check_kills(tmp_path, 3) > 0


@pytest.mark.campaign
def test_a_hundred_killed_removals_leave_every_bundle_whole_or_gone(tmp_path: Path) -> None:
    assert check_kills(tmp_path, 100) > 20


class Refuses(BaseHTTPRequestHandler):
    """Is healthy, and refuses whatever it is asked."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 403)
        self.end_headers()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Refuses)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
