"""Every deployed flow tells of its failure once, wherever it failed, and says it in a sentence on its page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from servers import free_port

ROOT = str(Path(__file__).parents[2])
FLOWS = ("retrain", "evaluate", "promote", "rollback", "score", "maintenance")
EVENT = "pt-pipeline.run.failed"
LAST = "the last of all"
CALLS = """
import importlib, json, os, sys
from uuid import UUID
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from flows.ending import ending
from flows.notices import tell_failed
from pt_core.errors import GateRefused, StepFailed

def refuse():
    raise GateRefused("none of 2 passed")

refused = flow(lambda: ending(refuse), name="refused")
broken = flow(lambda: ending(lambda: 1 / 0), name="broken")

def ended(flow, deployment, parameters):
    if not deployment:
        return flow(return_state=True), None
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(UUID(deployment), parameters=parameters)
    return run_flow(flow, flow_run=run, return_type="state"), run.name

for case, name, deployment, parameters, environment in json.loads(sys.argv[1]):
    print(f"== {case}", file=sys.stderr, flush=True)
    os.environ.update(environment)
    chosen = globals().get(name) or getattr(importlib.import_module(f"flows.{name}"), name)
    state, run = ended(chosen, deployment, parameters)
    for variable in environment:
        del os.environ[variable]
    print(json.dumps([case, state.type.value, state.message, run]))
print("== end", file=sys.stderr, flush=True)
tell_failed("x", sys.argv[2], StepFailed("x"))
"""

SETTINGS = """
name: mine
data: {source: table, path: PATH, table: {target: label}}
model: {target: "pt_core.modeling.mlp:mlp"}
variants: [{name: torch, steps: []}]
gate: smoke
"""


class Ended(NamedTuple):
    """How a run ended."""

    state: str
    message: str
    log: str
    told: list[str]


def calls(folder: Path, prefect: SyncPrefectClient) -> list[tuple[Any, ...]]:
    """Return, of each case, the flow, its deployment, its parameters, and what is set while it runs."""
    deployed = {
        name: str(
            prefect.create_deployment(
                flow_id=prefect.create_flow(flow(lambda: None, name=name)), name=name, tags=["pt-pipeline"]
            )
        )
        for name in FLOWS
    }
    (folder / "rows.csv").write_text("x,y\n1,2\n3,4\n")
    for name, path in (("no-column", "rows.csv"), ("no-data", "gone.csv")):
        (folder / f"{name}.yaml").write_text(SETTINGS.replace("PATH", path))
    nowhere = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
    scoring = {"model": str(folder / "gone"), "source": "rows.csv", "output": "scores.parquet"}
    return [
        ("no configuration", "retrain", deployed["retrain"], {"config": "gone.yaml"}, {}),
        ("no data", "retrain", deployed["retrain"], {"config": str(folder / "no-data.yaml")}, {}),
        ("in an open run", "retrain", deployed["retrain"], {"config": str(folder / "no-column.yaml")}, {}),
        ("evaluate", "evaluate", deployed["evaluate"], {"run": "gone"}, {}),
        ("promote", "promote", deployed["promote"], {"run": "gone", "approval": "none"}, {}),
        ("rollback", "rollback", deployed["rollback"], {}, {}),
        ("score", "score", deployed["score"], scoring, {}),
        ("maintenance", "maintenance", deployed["maintenance"], {}, nowhere),
        ("refused", "refused", None, {}, {}),
        ("broken", "broken", None, {}, {}),
    ]


@pytest.fixture(scope="module")
def ended(prefect: SyncPrefectClient, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """How each case ended, all of them in one process, as an import takes seconds."""
    folder = tmp_path_factory.mktemp("work")
    asked = calls(folder, prefect)
    environment = {
        "PT_PIPELINE_HOME": str(folder / "home"),
        "PREFECT_API_URL": str(prefect.api_url).rstrip("/"),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PYTHONPATH": ROOT,
    }
    done = subprocess.run(
        [sys.executable, "-c", CALLS, json.dumps(asked), LAST],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, **environment},
    )
    logs = dict(part.partition("\n")[::2] for part in done.stderr.split("== ")[1:])
    told = events(prefect)
    found = {}
    for line in done.stdout.splitlines():
        case, state, message, run = json.loads(line)
        named = run or f"{case}: the run "
        found[case] = Ended(state, message, logs[case], [body for body in told if named in body])
    assert len(found) == len(asked)
    return found


def events(prefect: SyncPrefectClient) -> list[str]:
    """Return the texts of all that was told of; events are written down in their order, some time after they came."""
    wanted = {"event": {"name": [EVENT]}, "occurred": {"since": "2020-01-01T00:00:00Z"}}
    end = time.monotonic() + 30
    while time.monotonic() < end:
        got = httpx.post(f"{prefect.api_url}events/filter", json={"filter": wanted}).json()["events"]
        found = [one["payload"]["body"] for one in got]
        if any(LAST in body for body in found):
            return [body for body in found if LAST not in body]
        time.sleep(0.2)
    raise AssertionError("the last event did not come")


@pytest.mark.parametrize(
    ("case", "flow_name", "sentence"),
    [
        ("no configuration", "retrain", "gone.yaml: no such"),
        ("no data", "retrain", "gone.csv"),
        ("evaluate", "evaluate", "gone"),
        ("promote", "promote", "gone"),
        ("rollback", "rollback", "no run"),
        ("score", "score", "gone: no such folder"),
        ("maintenance", "maintenance", "MLFLOW_TRACKING_URI: the server at 127.0.0.1"),
    ],
)
def test_a_deployed_flow_that_fails_tells_of_it_once_and_says_why(
    case: str, flow_name: str, sentence: str, ended: dict[str, Ended]
) -> None:
    found = ended[case]
    assert found.state == "FAILED"
    assert sentence in found.message
    (body,) = found.told
    assert body.startswith(f"{flow_name}: the run ")
    assert found.message.partition("\n")[0] in body
    assert "Prefect flow run: http://127.0.0.1:" in body
    assert "Traceback" not in found.log


def test_what_fails_in_an_open_run_is_told_once_under_its_pipeline(ended: dict[str, Ended]) -> None:
    found = ended["in an open run"]
    assert found.state == "FAILED"
    assert "label" in found.message
    (body,) = found.told
    assert body.startswith("mine: the run ")
    assert found.message.partition("\n")[0] in body


def test_a_refusal_is_left_to_the_gates_own_event(ended: dict[str, Ended]) -> None:
    assert ended["refused"] == Ended("FAILED", "none of 2 passed", ended["refused"].log, [])
    assert "Traceback" not in ended["refused"].log


def test_a_defect_is_told_too_and_keeps_its_traceback(ended: dict[str, Ended]) -> None:
    (body,) = ended["broken"].told
    assert "ZeroDivisionError: division by zero" in body
    assert "Traceback" in ended["broken"].log
