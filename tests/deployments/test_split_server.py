"""The servers start as compose.yaml says, as processes: Prefect's two halves over Redis and PostgreSQL, and MLflow."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import postgres, redis
from manifests import DEPLOYMENTS, program, read_compose
from servers import free_port, served

pytestmark = pytest.mark.campaign
SECRETS = {
    "postgres": "of-postgres",
    "prefect": "admin:of-prefect",
    "mlflow": "of-mlflow-admin",
    "mlflow-session": "of-sessions",
}


class Servers:
    """Where the servers are, and how a service of the file becomes a process here."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self.folder, self.ports = folder, ports
        self.services = read_compose()["services"]

    def here(self, text: str) -> str:
        """A word of the file with the names and paths of the containers put on this machine."""
        moved = {
            "/run/secrets/": f"{self.folder}/secrets/",
            "/etc/mlflow/auth.ini": f"{self.folder}/auth.ini",
            "/var/lib/pt-pipeline": f"{self.folder}/home",
            "/tmp/": f"{self.folder}/tmp/",
            "redis://redis:6379": f"redis://127.0.0.1:{self.ports['redis']}",
            "pipeline@postgres/": f"pipeline@127.0.0.1:{self.ports['postgres']}/",
            "127.0.0.1:5000,": f"127.0.0.1:{self.ports['mlflow']},",
            "127.0.0.1:4200": f"127.0.0.1:{self.ports['prefect']}",
            "--port=5000": f"--port={self.ports['mlflow']}",
            "0.0.0.0": "127.0.0.1",
        }
        # All at once: the folder of the test lies in /tmp itself.
        text = re.sub("|".join(map(re.escape, moved)), lambda found: moved[found[0]], text)
        whole = {
            **dict.fromkeys(("redis", "postgres"), "127.0.0.1"),
            **{"6379": str(self.ports["redis"]), "5432": str(self.ports["postgres"])},
            "4200": str(self.ports["prefect"]),
        }
        return whole.get(text, text)

    def environment(self, name: str) -> dict[str, str]:
        return {key: self.here(value) for key, value in self.services[name]["environment"].items()}

    def command(self, name: str) -> list[str]:
        script = str(DEPLOYMENTS / "docker" / "with-secrets")
        return [script, *(self.here(word) for word in self.services[name]["command"])]

    def ask(
        self, server: str, path: str, body: Any = None, *, login: str | None = None, **headers: str
    ) -> Any:
        """The answer as JSON, or the status where it is a refusal."""
        if login:
            headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        data = json.dumps(body).encode() if body is not None else None
        address = f"http://127.0.0.1:{self.ports[server]}{path}"
        request = urllib.request.Request(address, data, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refused:
            return refused.code


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("split")
    for name in ("secrets", "tmp", "home"):
        (folder / name).mkdir()
    for name, secret in SECRETS.items():
        (folder / "secrets" / name).write_text(secret)
    with contextlib.ExitStack() as running:
        database = postgres(
            user="pipeline", password=SECRETS["postgres"], script=DEPLOYMENTS / "docker" / "databases.sql"
        )
        ports = {name: free_port() for name in ("prefect", "mlflow")}
        ports |= {"redis": running.enter_context(redis()), "postgres": running.enter_context(database)}
        found = Servers(folder, ports)
        auth = (DEPLOYMENTS / "docker" / "mlflow-auth.ini").read_text()
        (folder / "auth.ini").write_text(found.here(auth))
        path = f"{Path(program('python')).parent}{os.pathsep}{os.environ['PATH']}"
        own = {**os.environ, **found.environment("migrate"), "PATH": path}
        subprocess.run(found.command("migrate"), env=own, cwd=folder, check=True, capture_output=True)
        health = {
            "prefect-api": f"http://127.0.0.1:{ports['prefect']}/api/health",
            "prefect-services": f"http://127.0.0.1:{ports['prefect']}/api/health",
            "mlflow": f"http://127.0.0.1:{ports['mlflow']}/health",
        }
        for name, address in health.items():
            command = " ".join(found.command(name))
            running.enter_context(served(command, address, folder / f"{name}.log", found.environment(name)))
        yield found


def test_an_event_passes_from_one_half_of_the_server_through_redis_to_the_other(servers: Servers) -> None:
    event = {
        "id": str(uuid.uuid4()),
        "occurred": "2026-01-02T03:04:05Z",
        "event": "tests.passed-through",
        "resource": {"prefect.resource.id": "tests.resource"},
    }
    wanted = {
        "id": {"id": [event["id"]]},
        "occurred": {"since": "2026-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"},
    }
    servers.ask("prefect", "/api/events", [event], login=SECRETS["prefect"])
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if (
            servers.ask("prefect", "/api/events/filter", {"filter": wanted}, login=SECRETS["prefect"])[
                "total"
            ]
            == 1
        ):
            return
        time.sleep(0.5)
    raise AssertionError((servers.folder / "prefect-services.log").read_text()[-3000:])


def test_the_half_without_an_address_is_seen_to_be_well(servers: Servers) -> None:
    test = servers.services["prefect-services"]["healthcheck"]["test"]
    line = servers.here(test[1].replace("$$", "$"))
    path = f"{Path(program('python')).parent}{os.pathsep}{os.environ['PATH']}"
    end = time.monotonic() + 60
    while time.monotonic() < end:
        own = {**os.environ, "PATH": path, **servers.environment("prefect-services")}
        if subprocess.run(["sh", "-c", line], env=own, check=False).returncode == 0:
            break
        time.sleep(1)
    else:
        raise AssertionError(line)
    own["PREFECT_SERVER_DOCKET_URL"] += "1"
    assert subprocess.run(["sh", "-c", line], env=own, check=False, capture_output=True).returncode != 0


def test_both_servers_ask_for_a_password_and_mlflow_for_a_host_that_it_knows(servers: Servers) -> None:
    experiments = "/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert servers.ask("prefect", "/api/flows/filter", {}) == 401
    assert servers.ask("prefect", "/api/flows/filter", {}, login=SECRETS["prefect"]) == []
    login = f"admin:{SECRETS['mlflow']}"
    assert servers.ask("mlflow", experiments) == 401
    assert servers.ask("mlflow", experiments, login="admin:wrong") == 401
    assert servers.ask("mlflow", experiments, login=login, Host="evil.example") == 403
    # The store of artifacts is the server's own: a client is told an address, never a folder or a bucket.
    experiment = servers.ask("mlflow", experiments, login=login)["experiment"]
    assert experiment["artifact_location"] == "mlflow-artifacts:/0"


def test_no_password_is_among_the_arguments_of_a_process(servers: Servers) -> None:
    listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert f"--port={servers.ports['mlflow']}" in listed
    assert not [secret for secret in SECRETS.values() if secret in listed]
