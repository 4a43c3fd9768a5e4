"""Servers are asked before any work; passwords in their addresses are never repeated."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from flows.home import Home
from flows.servers import check_servers, host, unreachable
from pt_core.errors import ConfigError

HOME = Home(root="/nowhere")


class Healthy(BaseHTTPRequestHandler):
    """Answers /health and nothing else; below /busy it takes its time."""

    def do_GET(self) -> None:
        if self.path.startswith("/busy"):
            time.sleep(3.5)
            self.path = self.path.removeprefix("/busy")
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Healthy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_healthy_server_is_accepted(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert unreachable(address) is None
    check_servers(HOME)


def test_an_unhealthy_server_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{address}/elsewhere")
    with pytest.raises(
        ConfigError, match=r"MLFLOW_TRACKING_URI: the server at 127\.0\.0\.1:.* does not answer"
    ):
        check_servers(HOME)


def test_a_busy_server_is_waited_for(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{address}/busy")
    assert unreachable(f"{address}/busy") == "timed out"
    check_servers(HOME)


def test_no_named_server_means_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    check_servers(HOME)


def test_an_address_is_shown_without_its_password() -> None:
    assert host("https://user:s3cret@example.org:8443/api") == "example.org:8443"
