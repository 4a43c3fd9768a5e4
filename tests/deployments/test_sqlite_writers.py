"""Many write to a Prefect server on SQLite at once: each waits its turn, none is refused, and the server never stands still."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from servers import free_port, served

NUM_WRITERS = 6
SECONDS = 8.0
LONGEST_S = 20.0
"""Where it stands still, it does so for the minute that SQLite waits for a lock."""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    command = f"python -m deployments.prefect_server server start --host 127.0.0.1 --port {port}"
    environment = {
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{tmp_path}/prefect.db",
        "PREFECT_SERVER_API_PORT": str(port),
    }
    with served(command, f"http://127.0.0.1:{port}/api/health", tmp_path / "server.log", environment):
        yield f"http://127.0.0.1:{port}/api"


def make_deployment(client: httpx.Client) -> str:
    client.post("/work_pools/", json={"name": "local", "type": "process"}).raise_for_status()
    flow = client.post("/flows/", json={"name": "f"}).raise_for_status().json()
    settings = {"name": "d", "flow_id": flow["id"], "work_pool_name": "local", "concurrency_limit": 1}
    return str(client.post("/deployments/", json=settings).raise_for_status().json()["id"])


def write(api: str, deployment: str, until: float, answers: Counter[int], took: list[float]) -> None:
    """Start runs as the pages do, which repeat no request, and end each as its process does."""
    with httpx.Client(base_url=api, timeout=90) as client:
        while time.monotonic() < until:
            started = time.monotonic()
            made = client.post(f"/deployments/{deployment}/create_flow_run", json={})
            answers[made.status_code] += 1
            took.append(time.monotonic() - started)
            if made.is_success:
                for state in ("PENDING", "RUNNING", "COMPLETED"):
                    changed = client.post(
                        f"/flow_runs/{made.json()['id']}/set_state", json={"state": {"type": state}}
                    )
                    answers[changed.status_code] += 1


def test_each_of_many_writers_is_answered_and_none_is_refused(api: str) -> None:
    with httpx.Client(base_url=api, timeout=90) as client:
        deployment = make_deployment(client)
    answers: Counter[int] = Counter()
    took: list[float] = []
    until = time.monotonic() + SECONDS
    writers = [
        threading.Thread(target=write, args=(api, deployment, until, answers, took))
        for _ in range(NUM_WRITERS)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert set(answers) <= {200, 201}, answers
    assert answers[201] > NUM_WRITERS
    assert max(took) < LONGEST_S
