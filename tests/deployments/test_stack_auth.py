"""A stack with passwords: nobody comes in without, the command line and the worker do; and killed, it leaves nothing."""

from __future__ import annotations

import base64
import configparser
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prefect_pages import tiny_config
from stacks import naps, pt_pipeline, start_nap, start_up, stop_up, wait_for_state, wait_until_ready

from deployments.stack.options import StackOptions
from deployments.stack.processes import members, sweep
from deployments.stack.settings import gather
from flows.stack_state import StackState, running_stack

GONE_S = 20
PAGE = 200
RETRAIN = """\
  - name: retrain
    entrypoint: flows.retrain.retrain
    parameters: {{config: {config}}}
    work_pool: {{name: local}}
"""
ON_DOCKER = Path(__file__).parents[2] / "deployments" / "docker" / "mlflow-auth.ini"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StackState, Path]]:
    folder = tmp_path_factory.mktemp("locked")
    deployed = naps(folder)
    with deployed.open("a") as file:
        file.write(RETRAIN.format(config=tiny_config(folder, "tiny")))
    options = ("--auth", "--no-webhook", "--prefect-file", str(deployed))
    process = start_up(folder / "home", folder / "up.log", *options)
    try:
        state = wait_until_ready(process, folder / "home", folder / "up.log")
        yield state, folder / "home"
    finally:
        stop_up(process)


def status_of(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_without_a_password_nobody_comes_in(locked):
    state, _ = locked

    assert status_of(f"{state.prefect_api_url}/work_pools/local") == 401
    assert status_of(f"{state.mlflow_url}/") == 401
    assert status_of(f"{state.mlflow_url}/api/2.0/mlflow/experiments/get?experiment_id=0") == 401
    assert status_of(f"{state.mlflow_url}/api/2.0/mlflow-artifacts/artifacts") == 401


def test_a_password_is_not_hashed_anew_for_every_request(tmp_path):
    (tmp_path / "stack").mkdir()
    gather(StackOptions(home=str(tmp_path), auth=True, webhook=False))
    here, there = configparser.ConfigParser(), configparser.ConfigParser()
    here.read(tmp_path / "stack" / "mlflow-auth.ini")
    there.read(ON_DOCKER)

    # MLflow keeps none where nothing is said.
    assert here.getint("mlflow", "auth_cache_ttl_seconds", fallback=0) == 60
    assert there.getint("mlflow", "auth_cache_ttl_seconds", fallback=0) == 60


def entries(prefect: httpx.Client, kind: str, chosen: dict[str, object]) -> list[str]:
    """Return everything of a kind that Prefect keeps, each as it stands in the answer."""
    found: list[str] = []
    while True:
        asked = {**chosen, "limit": PAGE, "offset": len(found)}
        page = prefect.post(f"{kind}/filter", json=asked).json()
        found += map(str, page)
        if len(page) < PAGE:
            return found


def test_no_password_reaches_what_prefect_and_mlflow_keep_of_a_run(locked):
    state, home = locked
    logins = {name: (home / "secrets" / name).read_text().strip() for name in ("prefect", "mlflow")}
    as_users = {name: httpx.BasicAuth(*login.split(":")) for name, login in logins.items()}
    with httpx.Client(
        base_url=state.prefect_api_url, auth=as_users["prefect"], trust_env=False, timeout=30
    ) as prefect:
        deployment = prefect.get("deployments/name/retrain/retrain").json()["id"]
        run = prefect.post(f"deployments/{deployment}/create_flow_run", json={}).json()["id"]
        wait_for_state(state, run, "COMPLETED", login=logins["prefect"], seconds=240)
        of_run = {"flow_runs": {"id": {"any_": [run]}}}
        kept = {kind: entries(prefect, kind, of_run) for kind in ("flow_runs", "task_runs", "artifacts")}
        kept["logs"] = entries(prefect, "logs", {"logs": {"flow_run_id": {"any_": [run]}}})
        kept["deployments"] = [prefect.get(f"deployments/{deployment}").text]
    with httpx.Client(
        base_url=f"{state.mlflow_url}/api/2.0/mlflow/", auth=as_users["mlflow"], trust_env=False, timeout=30
    ) as mlflow:
        experiments = mlflow.post("experiments/search", json={"max_results": 100}).json()["experiments"]
        wanted = {"experiment_ids": [one["experiment_id"] for one in experiments], "max_results": 1000}
        runs = mlflow.post("runs/search", json=wanted).json()["runs"]
        kept["parameters"] = [str(one["data"]["params"]) for one in runs]
        kept["tags"] = [str(one["data"]["tags"]) for one in runs]

    assert "tiny.yaml" in kept["flow_runs"][0]
    assert any(run in tags for tags in kept["tags"])
    assert [kind for kind, each in kept.items() if max(map(len, each), default=0) < 50] == []
    secrets = [login.split(":")[1] for login in logins.values()]
    secrets += [base64.b64encode(login.encode()).decode() for login in logins.values()]
    assert [kind for kind, each in kept.items() if any(one in text for text in each for one in secrets)] == []


def test_passwords_are_readable_by_their_owner_only_and_lie_nowhere_else(locked):
    state, home = locked
    passwords = [
        (home / "secrets" / name).read_text().strip().split(":")[1] for name in ("prefect", "mlflow")
    ]

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home / "secrets").iterdir()}
    assert modes == {"prefect": 0o600, "mlflow": 0o600}
    assert stat.S_IMODE((home / "secrets").stat().st_mode) == 0o700
    written = [path for path in home.rglob("*") if path.is_file() and path.parent.name != "secrets"]
    written.append(home.parent / "up.log")
    assert len(written) > 5
    for path in written:
        content = path.read_bytes()
        assert not any(password.encode() in content for password in passwords), path
    arguments = [" ".join(process.cmdline()) for process in members(state.token)]
    assert not any(password in line for line in arguments for password in passwords)


def test_the_command_line_and_the_worker_come_in_with_the_passwords_of_the_home(locked):
    state, home = locked
    login = (home / "secrets" / "prefect").read_text().strip()

    run = start_nap(state, home, 0)

    wait_for_state(state, run, "COMPLETED", login=login)
    asked = pt_pipeline("versions", "digits", "--home", str(home), "--json")
    assert asked.returncode == 0, asked.stderr


def test_killed_it_leaves_nothing_behind_not_even_the_run_at_work(locked):
    state, home = locked
    login = (home / "secrets" / "prefect").read_text().strip()
    run = start_nap(state, home, 600)
    wait_for_state(state, run, "RUNNING", login=login)
    assert len(list(members(state.token))) >= 5

    psutil.Process(state.supervisor.pid).kill()

    end = time.monotonic() + GONE_S
    while list(members(state.token)) and time.monotonic() < end:
        time.sleep(0.1)
    assert sweep(state.token) == 0
    assert running_stack(home) is None
    assert pt_pipeline("status", "--home", str(home)).returncode == 1
    assert "is down" in pt_pipeline("down", "--home", str(home)).stderr
