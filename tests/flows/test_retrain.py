"""A retrain that has nothing to do: which earlier run settles it, asked of a real MLflow and told by a real flow run."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from flows.check import check
from flows.home import Home
from flows.surroundings import sources_digest
from flows.unchanged import inputs_of, still_stands
from pt_core.child import CODE_PATH_VARIABLE
from pt_core.environment import code_digest
from tasks.earlier import INPUTS_DIGEST, EarlierRun, find_earlier
from tasks.promotion import PromotionConfig
from tasks.registry import RegisteredVersion
from tasks.tracking_fields import SETTLED

SETTINGS = """
name: mine
data: {source: table, path: rows.csv, table: {target: label}}
model: {target: "net_of_retrain:net"}
variants: [{name: torch, steps: []}]
gate: smoke
"""


def make_project(folder: Path) -> Path:
    folder.mkdir()
    rows = [f"{i},{i % 7},{'ab'[i % 2]}" for i in range(60)]
    (folder / "rows.csv").write_text("\n".join(["x,y,label", *rows]))
    (folder / "net_of_retrain.py").write_text("def net(**_):\n    return None\n")
    (folder / "mine.yaml").write_text(SETTINGS)
    return folder / "mine.yaml"


@pytest.fixture(autouse=True)
def _imports_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(CODE_PATH_VARIABLE, "")


def digest(path: Path, *overrides: str) -> str:
    code_digest.cache_clear()  # a process reads code once
    return inputs_of(check(str(path), overrides), Home(root="/nowhere")).content_digest()


def test_the_digest_of_a_runs_inputs_is_of_what_decides_it_and_of_nothing_else(tmp_path: Path) -> None:
    path = make_project(tmp_path / "here")
    first = digest(path)
    (path.parent / "notes.txt").write_text("not read by anything")
    assert digest(path) == first
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setattr(sys, "path", [entry for entry in sys.path if entry != str(path.parent)])
        shutil.copytree(path.parent, tmp_path / "there")
        assert digest(tmp_path / "there" / "mine.yaml") == first
    seen = {first, digest(path, "train.epochs=3")}
    for name in ("rows.csv", "net_of_retrain.py"):
        with (path.parent / name).open("a") as file:
            file.write("\n1,2,a" if name == "rows.csv" else "\n# edited")
        seen.add(digest(path))
    assert len(seen) == 4


def test_what_a_network_imports_from_elsewhere_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, helpers, packages = make_project(tmp_path / "here"), tmp_path / "helpers", tmp_path / "packages"
    (helpers / "deep").mkdir(parents=True)
    packages.mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{helpers}{os.pathsep}{tmp_path / 'gone'}")
    monkeypatch.syspath_prepend(packages)
    seen = [digest(path)]
    (helpers / "rows.txt").write_text("no code")
    assert digest(path) == seen[0]
    (helpers / "deep" / "helper.py").write_text("WIDTH = 8\n")
    seen.append(digest(path))
    for version in ("1.0", "1.1"):
        info = packages / f"timmy-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: timmy\nVersion: {version}\n")
        importlib.invalidate_caches()
        seen.append(digest(path))
        shutil.rmtree(info)
    (path.parent / "configs").mkdir()
    (path.parent / "configs" / "other.py").write_text("")
    seen.append(digest(path))
    assert len(set(seen)) == 5


def test_code_in_a_folder_without_end_is_read_up_to_a_limit(
    tmp_path: Path, hear: Callable[[str], list[str]]
) -> None:
    heard = hear("flows.surroundings")
    for name in "abc":
        (tmp_path / f"{name}.py").write_text("")
    known = sources_digest(tmp_path), sources_digest(tmp_path, max_entries=2)
    (tmp_path / "c.py").write_text("# edited")
    found = sources_digest(tmp_path), sources_digest(tmp_path, max_entries=2)
    assert (found[0] == known[0], found[1] == known[1]) == (False, True)
    assert len(heard) == 2
    assert "holds more than 2 files" in heard[0]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def log(address: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A function that writes a run down as a pipeline run leaves it, by MLflow's own client."""
    client, folder = MlflowClient(address), tmp_path_factory.mktemp("artifacts")
    experiment = client.create_experiment("mine", (folder / "mlartifacts").as_uri())
    table = folder / "comparison.json"
    table.write_text("{}")

    def write(name: str, inputs: str, status: str, whole: bool = True, note: str = "", **tags: str) -> str:
        known = {INPUTS_DIGEST: inputs, "mlflow.note.content": note, SETTLED: "true", **tags}
        run_id = client.create_run(experiment, run_name=name, tags=known).info.run_id
        if whole:
            client.log_artifact(run_id, str(table))
        if status != "RUNNING":
            client.set_terminated(run_id, status)
        return str(run_id)

    return write


def test_only_runs_that_came_to_a_verdict_and_are_logged_whole_settle_anything(
    address: str, log: Callable[..., str]
) -> None:
    assert find_earlier.fn(address, pipeline="unknown", inputs_digest="d") == ()
    log("passed", "d", "FINISHED", note="it passed", verdict="pass", champion="none")
    log("refused", "d", "FAILED", verdict="fail", champion="mine/2")
    log("crashed", "d", "FAILED")
    log("killed", "d", "KILLED", verdict="pass")
    log("at-work", "d", "RUNNING")
    log("finished-without-verdict", "d", "FINISHED")
    log("out-of-memory", "d", "FAILED", verdict="fail", settled="false")
    log("of-an-earlier-version", "d", "FAILED", verdict="fail", settled="")
    log("without-tables", "d", "FINISHED", whole=False, verdict="pass")
    MlflowClient(address).delete_run(log("deleted", "d", "FINISHED", verdict="pass"))
    log("of-other-inputs", "e", "FINISHED", verdict="pass")
    found = find_earlier.fn(address, pipeline="mine", inputs_digest="d")
    assert isinstance(found, tuple)
    assert [(run.name, run.verdict, run.champion) for run in found] == [
        ("refused", "fail", "mine/2"),
        ("passed", "pass", "none"),
    ]
    assert found[1].sentence == "it passed"


class Refusing(BaseHTTPRequestHandler):
    """An MLflow that is healthy, and answers every question with an error of its own."""

    def do_GET(self) -> None:
        is_health = self.path == "/health"
        self.send_response(200 if is_health else 500)
        self.end_headers()
        self.wfile.write(b"OK" if is_health else b"boom")

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def test_an_mlflow_that_breaks_is_a_sentence_and_no_failed_task() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        found = find_earlier.fn(address, pipeline="mine", inputs_digest="d")
        server.shutdown()
    assert isinstance(found, str)
    assert found.startswith(f"MLflow at {address}: ")


def run(name: str, verdict: str, champion: str = "none") -> EarlierRun:
    return EarlierRun(
        run_id=name, name=name, started_at="2026-11-23", verdict=verdict, champion=champion, sentence=""
    )


def version(number: str, run_name: str, **tags: str) -> RegisteredVersion:
    return RegisteredVersion(
        name="mine",
        version=number,
        bundle_digest="b",
        release_digest="r",
        run_id=None,
        run_name=run_name,
        tags=tags,
        source="",
    )


@pytest.mark.parametrize(
    ("runs", "champion", "promotion", "settled_by"),
    [
        ((), None, {}, None),
        ((run("a", "pass"),), None, {}, "a"),
        ((run("a", "fail"),), None, {}, "a"),
        # What it was judged against is not in use any more, or something is that was not.
        ((run("a", "pass", "mine/1"),), None, {}, None),
        ((run("a", "pass", "mine/1"),), version("1", "old"), {}, "a"),
        ((run("a", "pass"),), version("1", "other"), {}, None),
        ((run("a", "fail", "mine/1"),), version("2", "other"), {}, None),
        # The champion is the run's own winner, or that of an equal run: nothing has changed.
        ((run("a", "pass"),), version("1", "a"), {}, "a"),
        ((run("b", "pass", "mine/1"), run("a", "pass")), version("2", "a"), {}, "b"),
        # It was to be promoted and never was registered.
        ((run("a", "pass"),), None, {"after_run": True}, None),
        ((run("a", "pass", "mine/1"),), version("1", "other"), {"after_run": True}, None),
        ((run("a", "pass"),), version("1", "a"), {"after_run": True}, "a"),
        ((run("a", "fail"),), None, {"after_run": True}, "a"),
        # No champion was asked for, so that none matters.
        ((run("a", "pass"),), version("9", "other"), {"compare_with_champion": False}, "a"),
    ],
)
def test_a_verdict_stands_as_long_as_what_it_rests_on(
    runs: tuple[EarlierRun, ...],
    champion: RegisteredVersion | None,
    promotion: dict[str, Any],
    settled_by: str | None,
) -> None:
    found = still_stands(runs, champion, PromotionConfig(**promotion))
    assert (found and found.name) == settled_by


@pytest.mark.parametrize(
    ("own", "champion", "settled_by", "said"),
    [
        # A person went back to the version before it, or said no: nobody is asked again, whatever came after.
        (
            {"promotion_state": "champion", "rolled_back_to": "1"},
            "1",
            "a",
            "mine/2, which it made champion, was rolled",
        ),
        ({"promotion_state": "champion", "rolled_back_to": "1"}, "3", "a", "back to version 1"),
        (
            {"promotion_state": "refused"},
            "1",
            "a",
            "the promotion of models:/mine/2, which it registered, was refused",
        ),
        # Its promotion failed, or came second.
        ({"promotion_state": "undone"}, "1", None, ""),
        ({"promotion_state": "lost"}, "3", None, ""),
        # A person is being asked.
        ({"promotion_state": "open"}, "1", "a", ""),
        # It was champion, and another one took its place.
        ({"promotion_state": "champion"}, "3", None, ""),
    ],
)
def test_an_unchanged_run_undoes_no_rollback_and_asks_nobody_twice(
    own: dict[str, str], champion: str, settled_by: str | None, said: str
) -> None:
    found = still_stands(
        (run("a", "pass", "mine/1"),),
        version(champion, "other"),
        PromotionConfig(after_run=True),
        version("2", "a", **own),
    )
    assert (found and found.name) == settled_by
    assert said in (found.aftermath if found else "")


CALLS = """
import json, sys
from pathlib import Path
from flows.home import activate
activate(Path(sys.argv[1]))
from flows.retrain import retrain
states = [retrain(**call, return_state=True) for call in json.loads(sys.argv[2])]
print(json.dumps([[state.type.value, state.name, state.message] for state in states]))
"""


def test_a_flow_run_says_in_one_sentence_that_it_has_nothing_to_do_or_why_it_is_refused(
    tmp_path: Path, address: str, log: Callable[..., str]
) -> None:
    path, home = make_project(tmp_path / "project"), tmp_path / "home"
    home.mkdir()
    log("passed", digest(path), "FINISHED", verdict="pass", champion="none")
    log("refused", digest(path, "seed=5"), "FAILED", verdict="fail", champion="none", note="none of 2 passed")
    calls = [
        {"config": str(path)},
        {"config": str(path), "overrides": ["seed=5"]},
        {"config": str(path), "epochs": 3, "overrides": ["train.epochs=4"]},
        {"config": str(path), "promote": "ask a person"},
        {"config": str(path), "epochs": 2, "overrides": ["train.schedule=cosine", "train.warmup_epochs=2"]},
    ]
    done = subprocess.run(
        [sys.executable, "-c", CALLS, str(home), json.dumps(calls)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "INFO", "MLFLOW_TRACKING_URI": address},
    )
    states = json.loads(done.stdout.splitlines()[-1])
    assert [state[:2] for state in states] == [["COMPLETED", "Nothing to do"], *[["FAILED", "Failed"]] * 4]
    assert states[0][2].startswith("Nothing to do: run passed of ")
    assert "set force (Run even if nothing has changed) to run all the same" in states[0][2]
    assert states[1][2].startswith("none of 2 passed (not run again: run refused of ")
    assert states[2][2].startswith("overrides: train.epochs=4, and the field epochs of the form says")
    assert states[3][2].startswith("promotion.approval: prefect asks in the pages of a Prefect server")
    assert (
        states[4][2]
        == "mine.yaml: train: warmup_epochs: 2 of 2 epochs; the rise must end before the training"
    )
    assert "Traceback" not in done.stdout + done.stderr
