"""A person agrees to a promotion, or does not, on a real Prefect server: the flow run waits, and goes on as they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from promotable import MODEL, another_run, make_promotable, places_in, store
from servers import free_port, served

from tasks import journal, registry

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 150
WORKER = ["prefect", "worker", "start", "--pool", "local", "--type", "process"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    result = make_promotable(folder)
    for name in ("yes", "no", "suspended"):
        store(folder, another_run(result, name))
    return folder


@pytest.fixture(scope="module")
def environment(home: Path) -> Iterator[dict[str, str]]:
    """What the processes of a real Prefect server have set."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/api"
    settings = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_URL": address,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PT_PIPELINE_HOME": str(home),
        "PYTHONPATH": str(ROOT),
    }
    command = f"python -m deployments.prefect_server server start --host 127.0.0.1 --port {port}"
    with served(command, f"{address}/health", home / "server.log", settings):
        yield {**os.environ, **settings}


class Prefect:
    """What a person does in Prefect's pages."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.address = environment["PREFECT_API_URL"]

    def call(self, method: str, path: str, **body: object) -> object:
        import httpx

        answer = httpx.request(method, f"{self.address}{path}", json=body or None, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deploy(self) -> str:
        """Deploy the flow as prefect.yaml does, and return the deployment's id."""
        self.call("POST", "/work_pools/", name="local", type="process")
        flow = self.call("POST", "/flows/", name="promote")
        assert isinstance(flow, dict)
        made = self.call(
            "POST",
            "/deployments/",
            name="promote",
            flow_id=flow["id"],
            entrypoint="flows.promote.promote",
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
            work_pool_name="local",
        )
        assert isinstance(made, dict)
        return str(made["id"])

    def wait(
        self, flow_run: str | None, *states: str, process: subprocess.Popen[str] | None = None
    ) -> tuple[str, str]:
        """Wait for a flow run (the latest if none is given) to be in one of some states; return its id and the state."""
        end = time.monotonic() + PATIENCE_S
        seen: object = None
        while time.monotonic() < end:
            if process is not None and process.poll() is not None:
                pytest.fail(f"it ended: {process.communicate()}")
            found = self.call("POST", "/flow_runs/filter", sort="START_TIME_DESC")
            assert isinstance(found, list)
            for one in found:
                seen = one["state"]
                if flow_run in (None, one["id"]) and one["state"]["name"] in states:
                    return one["id"], one["state"]["name"]
            time.sleep(0.3)
        pytest.fail(f"no flow run became {states}; the last is {seen}")

    def resume(self, flow_run: str, **answer: object) -> None:
        said = self.call("POST", f"/flow_runs/{flow_run}/resume", run_input=answer)
        assert isinstance(said, dict)
        assert said["status"] == "ACCEPT", said


def command(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )


def champion(home: Path) -> str | None:
    found = registry.find_alias(places_in(home).tracking_uri, name=MODEL, alias="champion")
    return found.run_name if found else None


@pytest.mark.parametrize(
    ("agrees", "code", "state"),
    [(True, 0, "champion"), pytest.param(False, 3, "refused", marks=pytest.mark.campaign)],
)
def test_the_alias_moves_only_if_a_person_agrees(home, environment, agrees, code, state):
    prefect, run = Prefect(environment), "yes" if agrees else "no"
    with command(environment, "promote", run, "--approval", "prefect", "--json") as process:
        try:
            flow_run, _ = prefect.wait(None, "Paused", process=process)
            before = champion(home)
            assert before != run
            prefect.resume(flow_run, approve=agrees, name="Ada", comment="looked at it")
            printed, said = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == code, said
    assert champion(home) == (run if agrees else before)
    written = journal.read(home / "promotions", str(UUID(flow_run)))
    assert written.state == state
    assert "Ada: looked at it" in (written.approved_by if agrees else said)
    assert json.loads(printed)["exit_code"] == code


@pytest.mark.campaign
def test_a_deployed_promotion_is_suspended_and_starts_again_where_it_was(home, environment):
    prefect = Prefect(environment)
    with (home / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", *WORKER],
            env=environment,
            cwd=ROOT,
            stdout=log,
            stderr=log,
            # It ends by sending itself SIGINT, which a background shell lets everything it starts ignore.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        started = prefect.call(
            "POST",
            f"/deployments/{prefect.deploy()}/create_flow_run",
            parameters={"run": "suspended", "approval": "prefect"},
            state={"type": "SCHEDULED"},
        )
        assert isinstance(started, dict)
        flow_run = started["id"]
        _, state = prefect.wait(flow_run, "Suspended", "Failed", "Crashed")
        assert state == "Suspended", (home / "worker.log").read_text()[-3000:]
        waiting = journal.read(home / "promotions", str(UUID(flow_run)))
        assert waiting.state == "waiting"
        prefect.resume(flow_run, approve=True, name="Ada", comment="")
        _, state = prefect.wait(flow_run, "Completed", "Failed", "Crashed")
        assert state == "Completed", (home / "worker.log").read_text()[-3000:]
    finally:
        worker.terminate()
        worker.wait(timeout=30)
    done = journal.read(home / "promotions", str(UUID(flow_run)))
    assert (done.state, done.version, done.approved_by) == ("champion", waiting.version, "Ada")
    assert champion(home) == "suspended"
