"""What runs in the containers besides the product does its work: the scripts, and the proxy as it is configured."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from manifests import DEPLOYMENTS, program, run
from servers import free_port, served

from deployments.webhook.secret_files import MIN_BYTES, read_secrets
from deployments.webhook_config import Provider, Repository, WebhookConfig

DOCKER = DEPLOYMENTS / "docker"


def test_a_command_gets_what_is_in_the_files_and_not_their_names(tmp_path: Path) -> None:
    (tmp_path / "password").write_text('it\'s $HOME "secret"\n')
    told = run(
        str(DOCKER / "with-secrets"),
        "env",
        environment={
            "PATH": os.environ["PATH"],
            "A_PASSWORD__FILE": str(tmp_path / "password"),
            "OTHER": "x",
        },
    )
    assert told.returncode == 0, told.stderr
    assert 'A_PASSWORD=it\'s $HOME "secret"\n' in told.stdout
    assert "OTHER=x\n" in told.stdout
    assert "__FILE" not in told.stdout


@pytest.mark.parametrize("content", [None, ""])
def test_a_password_that_is_missing_or_empty_stops_the_container(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "password").write_text(content)
    told = run(
        str(DOCKER / "with-secrets"),
        "env",
        environment={"PATH": os.environ["PATH"], "A_PASSWORD__FILE": str(tmp_path / "password")},
    )
    assert told.returncode == 2
    assert f"A_PASSWORD__FILE: {tmp_path / 'password'} is missing, empty or not readable" in told.stderr
    assert told.stdout == ""


def test_passwords_are_made_once_in_a_folder_for_their_owner(tmp_path: Path) -> None:
    shutil.copytree(DOCKER, tmp_path / "deployments" / "docker")
    script = str(tmp_path / "deployments" / "docker" / "make-secrets")
    assert run(script).returncode == 0
    folder = tmp_path / "deployments" / "secrets"
    made = {path.name: path.read_text() for path in folder.iterdir()}
    named = re.findall(r"\{file: secrets/([a-z-]+)\}", (DEPLOYMENTS / "compose.yaml").read_text())
    assert set(made) == set(named)
    assert len(set(made.values())) == len(made)
    assert all(re.fullmatch(r"(admin:|whsec_)?[0-9a-f]{48}", password) for password in made.values())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "mlflow").unlink()
    again = run(script)
    assert again.stdout == f"made {folder / 'mlflow'}\n"
    assert all((folder / name).read_text() == password for name, password in made.items() if name != "mlflow")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_the_secret_that_kubernetes_is_given_is_of_the_form_that_every_host_signs_with(
    tmp_path: Path,
) -> None:
    commands = (DEPLOYMENTS / "kubernetes" / "kustomization.yaml").read_text()
    (made_by,) = re.findall(r"new webhook --from-file=secret=<\((.+?)\)  #", commands)
    # An argument can be read by every user of the machine.
    assert "from-literal" not in commands
    config = WebhookConfig(
        repositories=tuple(
            Repository(name=f"team/{provider}", provider=provider, clone_url="https://git.example/a.git")
            for provider in get_args(Provider)
        )
    )
    made = set()
    for number in range(5):
        path = tmp_path / str(number)
        path.write_text(run("sh", "-c", made_by).stdout)
        assert not path.read_text().endswith("\n")
        found = read_secrets(config, base=tmp_path, secret_file=path)
        assert all(len(secret) >= MIN_BYTES for secrets in found.values() for secret in secrets)
        assert len(found) == len(get_args(Provider)) >= 7
        made.add(found["team/standard"])
    assert len(made) == 5


@pytest.fixture(scope="module")
def backend() -> Iterator[tuple[int, list[tuple[str, str, int]]]]:
    """A receiver that keeps what reaches it, and knows both ways of sending a body."""
    reached: list[tuple[str, str, int]] = []

    def keep(self: http.server.BaseHTTPRequestHandler) -> None:
        num_bytes = len(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        reached.append((self.path, str(self.headers), num_bytes))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    class Receiver(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        do_POST = do_GET = keep  # noqa: N815 - the base class calls them so

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port, reached
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def proxy(
    backend: tuple[int, list[tuple[str, str, int]]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, int]]:
    """The real proxy with the real file, its names and ports put on this machine's loopback."""
    folder = tmp_path_factory.mktemp("proxy")
    ports = {name: free_port() for name in ("hooks", "prefect", "mlflow", "health")}
    there = {"receiver:8090": f"127.0.0.1:{backend[0]}", "mlflow:5000": f"127.0.0.1:{backend[0]}"}
    # Ten seconds, in a test, are one.
    there |= {"read_header 10s": "read_header 1s"}
    there |= {"dynamic a prefect-api 4200": f"dynamic a localhost {backend[0]}"}
    there |= {"{$PT_PIPELINE_SITE:http://}": f"http://127.0.0.1:{ports['hooks']}"}
    there |= {
        f"http://:{inside}": f"http://127.0.0.1:{ports[name]}"
        for name, inside in (("prefect", 4200), ("mlflow", 5000), ("health", 2020))
    }
    text = (DEPLOYMENTS / "Caddyfile").read_text()
    for here, elsewhere in there.items():
        assert text.count(here) == 1, here
        text = text.replace(here, elsewhere)
    (folder / "Caddyfile").write_text(text)
    command = f"{program('caddy')} run --config Caddyfile --adapter caddyfile"
    own = {name: str(folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    with served(command, f"http://127.0.0.1:{ports['health']}/", folder / "log", own):
        yield ports


def _ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("site", ["http://", "hooks.example.com"])
def test_the_file_of_the_proxy_is_valid_and_formatted(site: str) -> None:
    file = str(DEPLOYMENTS / "Caddyfile")
    adapted = run(
        program("caddy"),
        *("validate", "--adapter", "caddyfile", "--config", file),
        environment={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PT_PIPELINE_SITE": site},
    )
    assert adapted.returncode == 0, adapted.stderr
    assert run(program("caddy"), "fmt", "--diff", file).returncode == 0


def test_the_world_sees_the_hooks_and_nothing_else(
    proxy: dict[str, int], backend: tuple[int, list[tuple[str, str, int]]]
) -> None:
    port, reached = proxy["hooks"], backend[1]
    reached.clear()
    for method in ("GET", "POST"):
        for path in (
            "/",
            "/health",
            "/api/flows",
            "/hooks",
            "/hooks/../health",
            "/hooks/%2e%2e/health",
            "/graphql",
        ):
            assert _ask(port, method, path) == 404, (method, path)
    assert _ask(port, "GET", "/hooks/team/models") == 404
    assert reached == []
    headers = {"X-Hub-Signature-256": "sha256=00", "X-Forwarded-For": "10.9.8.7"}
    assert _ask(port, "POST", "/hooks/team/models", b"{}", **headers) == 202
    path, seen, num_bytes = reached.pop()
    assert (path, num_bytes) == ("/hooks/team/models", 2)
    assert "X-Hub-Signature-256: sha256=00" in seen
    # Whoever claims to come from elsewhere is not believed.
    assert "10.9.8.7" not in seen


def test_a_push_of_the_largest_size_passes_and_a_larger_one_does_not(
    proxy: dict[str, int], backend: tuple[int, list[tuple[str, str, int]]]
) -> None:
    port, reached = proxy["hooks"], backend[1]
    reached.clear()
    assert _ask(port, "POST", "/hooks/team/models", bytes(25 * 2**20)) == 202
    assert reached.pop()[2] == 25 * 2**20
    # It may hang up while the body is still coming, and tells the receiver by hanging up there too.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        assert _ask(port, "POST", "/hooks/team/models", bytes(25 * 2**20 + 1)) == 413
    assert _ask(port, "POST", "/hooks/team/models", b"{}", **{"X-Long": "a" * 40_000}) == 431
    # The receiver may notice only now that the body it was reading ends early: what it keeps is told by its headers.
    assert all(num_bytes <= 25 * 2**20 for _, _, num_bytes in reached)
    assert not any("X-Long" in headers for _, headers, _ in reached)


def test_a_sender_of_half_a_header_is_let_go(proxy: dict[str, int]) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", proxy["hooks"]), timeout=20) as slow:
        slow.sendall(b"POST /hooks/team/models HTTP/1.1\r\nHost: x\r\n")
        start = time.monotonic()
        while slow.recv(1024):
            pass
        assert 0.5 < time.monotonic() - start < 8


def test_prefect_and_mlflow_get_the_password_that_the_client_sent(
    proxy: dict[str, int], backend: tuple[int, list[tuple[str, str, int]]]
) -> None:
    reached = backend[1]
    for name in ("prefect", "mlflow"):
        reached.clear()
        assert _ask(proxy[name], "POST", "/api/x", b"{}", Authorization="Basic YTpi") == 202
        assert "Authorization: Basic YTpi" in reached[0][1]
