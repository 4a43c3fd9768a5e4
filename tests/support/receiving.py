"""A real receiver process, requests signed as Git hosts sign them, and a Prefect server that speaks what the dispatcher asks."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from servers import free_port, stop_group, wait_until_healthy

SECRET = "a-secret-of-the-tests-0123456789"
PROVIDERS_CONFIG = """\
repositories:
  - {name: team/models, provider: github, clone_url: "https://git.example/team/models.git", paths: ["models/", "*.yaml"]}
  - {name: team/any, provider: github, clone_url: "https://git.example/team/any.git"}
"""


def commit(number: int) -> str:
    return hashlib.sha1(str(number).encode()).hexdigest()


def github_push(
    repository: str = "team/any",
    *,
    sha: str | None = None,
    ref: str = "refs/heads/main",
    paths: tuple[str, ...] = ("models/net.py",),
    **more: object,
) -> dict[str, object]:
    """Return a push as GitHub writes it, shortened."""
    return {
        "ref": ref,
        "before": commit(0),
        "after": sha or commit(1),
        "created": False,
        "deleted": False,
        "forced": False,
        "repository": {"full_name": repository, "clone_url": "https://evil.example/x.git"},
        "commits": [{"id": sha or commit(1), "added": list(paths), "modified": [], "removed": []}],
        **more,
    }


def hex_signature(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def github_headers(
    body: bytes, *, delivery: str | None = None, event: str = "push", secret: str = SECRET
) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or str(uuid.uuid4()),
        "X-Hub-Signature-256": f"sha256={hex_signature(body, secret)}",
    }


def post(
    port: int, path: str, body: bytes, headers: Mapping[str, str], *, timeout: float = 20
) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def push(port: int, payload: Mapping[str, object], *, delivery: str | None = None) -> tuple[int, dict]:
    """Send a push to its repository's hook, signed as GitHub does."""
    body = json.dumps(payload).encode()
    name = payload["repository"]["full_name"]  # type: ignore[index]
    return post(port, f"/hooks/{name}", body, github_headers(body, delivery=delivery))


def deliveries(home: Path) -> list[dict[str, object]]:
    """Return the journal's rows, read without the product's code."""
    with contextlib.closing(sqlite3.connect(home / "webhooks" / "deliveries.db")) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM deliveries ORDER BY seq")]


def wait_for(condition: Callable[[], object], *, seconds: float = 20, what: str = "it") -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)


@contextlib.contextmanager
def receiving(
    home: Path, config: str, *, prefect_url: str, port: int | None = None, secret: str = SECRET
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run the receiver as a process of its own; gives its port and the process."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "webhook.yaml").write_text(config)
    secret_file = home / "secret"
    secret_file.write_text(secret + "\n")
    secret_file.chmod(0o600)
    port = port or free_port()

    log = home / "receiver.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "deployments", "webhook", "--config", str(home / "webhook.yaml")),
                *("--secret-file", str(secret_file), "--port", str(port), "--home", str(home)),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PREFECT_API_URL": prefect_url},
            start_new_session=True,
        )
    try:
        wait_until_healthy(process, f"http://127.0.0.1:{port}/health", log)
        yield port, process
    finally:
        stop_group(process)
        process.wait()


class FakePrefect:
    """The endpoints of a Prefect server that the dispatcher uses, with its idempotency keys, on a real port."""

    def __init__(self) -> None:
        self.deployment_id = str(uuid.uuid4())
        self.runs: dict[str, dict] = {}
        self.requests: list[tuple[str, str]] = []
        self.keys_seen: list[str] = []
        self.failures: list[int] = []
        """Statuses to answer the next creations of a run with; the run is made all the same at a 599."""
        self.known = True
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                self._reply(*owner.get(self.path))

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers.get("content-length", 0)))
                self._reply(*owner.post(self.path, json.loads(text or b"{}")))

            def _reply(self, status: int, document: object) -> None:
                text = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api"

    def get(self, path: str) -> tuple[int, object]:
        if path.startswith("/api/admin/version"):
            import prefect

            return 200, prefect.__version__
        if path.startswith("/api/deployments/name/"):
            if not self.known:
                return 404, {"detail": "not found"}
            return 200, {
                **{"id": self.deployment_id, "name": "retrain-on-push", "flow_id": self.deployment_id},
                **{"created": None, "updated": None},
            }
        return 422, {"detail": "CSRF protection is disabled."}

    def post(self, path: str, document: dict) -> tuple[int, object]:
        with self._lock:
            if path.endswith("/create_flow_run"):
                return self._create(document)
            if path.endswith("/flow_runs/filter"):
                kinds = document["flow_runs"]["state"]["type"]["any_"]
                keys = document["flow_runs"]["idempotency_key"]["any_"]
                found = [
                    self.runs[key]
                    for key in keys
                    if key in self.runs and self.runs[key]["state"]["type"] in kinds
                ]
                return 200, found
            if path.endswith("/set_state"):
                run = next(r for r in self.runs.values() if r["id"] in path)
                kind, message = document["state"]["type"], document["state"].get("message")
                if kind == "CANCELLING" and run["state"]["type"] == "SCHEDULED":
                    kind, message = "CANCELLED", None
                run["state"] = _state(kind, message)
                return 201, {"status": "ACCEPT", "state": run["state"], "details": {"type": "accept_details"}}
        return 404, {"detail": path}

    def _create(self, document: dict) -> tuple[int, object]:
        key = document["idempotency_key"]
        self.keys_seen.append(key)
        failure = self.failures.pop(0) if self.failures else 0
        if failure and failure != 599:
            return failure, {"detail": "no"}
        if key not in self.runs:
            self.runs[key] = {
                **{"id": str(uuid.uuid4()), "name": f"run-{len(self.runs)}", "flow_id": self.deployment_id},
                **{"deployment_id": self.deployment_id, "idempotency_key": key, "tags": document["tags"]},
                **{"parameters": document["parameters"], "job_variables": document["job_variables"]},
                "state": _state("SCHEDULED", None),
            }
        return (503, {"detail": "late"}) if failure == 599 else (201, self.runs[key])


def _state(kind: str, message: str | None) -> dict[str, object]:
    now = datetime.now(UTC).isoformat()
    return {
        **{"id": str(uuid.uuid4()), "type": kind, "name": kind.capitalize(), "timestamp": now},
        **{"message": message, "state_details": {}},
    }


@contextlib.contextmanager
def fake_prefect() -> Iterator[FakePrefect]:
    prefect = FakePrefect()
    thread = threading.Thread(target=prefect.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield prefect
    finally:
        prefect.server.shutdown()
        prefect.server.server_close()
        thread.join()


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """A server that accepts every connection and never answers; gives its address as Prefect's."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    kept: list[socket.socket] = []
    ended = threading.Event()

    def accept() -> None:
        listening.settimeout(0.1)
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                kept.append(listening.accept()[0])

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/api"
    finally:
        ended.set()
        thread.join()
        for one in (*kept, listening):
            one.close()
