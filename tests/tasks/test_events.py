"""An event never fails and never holds up who raises it, and carries no password."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from servers import free_port

from flows.notices import tell_failed, tell_promoted
from pt_core.errors import StepFailed
from tasks.events import PATIENCE_S, emit
from tasks.promotion import Promotion


class Prefect(BaseHTTPRequestHandler):
    """Takes events, from whoever has the password."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        is_known = self.headers["authorization"] == "Basic YWRtaW46c2VjcmV0"  # admin:secret
        if is_known and self.path == "/api/events":
            self.server.got.extend(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(204 if is_known else 401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def got() -> Iterator[list[dict[str, Any]]]:
    server = HTTPServer(("127.0.0.1", 0), Prefect)
    server.got = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/api"
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: "admin:secret"}):
        yield server.got  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def say(body: str = "said") -> bool:
    return emit("pt-pipeline.run.failed", resource_id="pt-pipeline.run.r", resource_name="r", body=body)


def test_an_event_is_taken_with_the_password_of_prefect(got: list[dict[str, Any]]) -> None:
    assert say("see http://me:pass@host/x\n" + "x" * 10_000)
    (event,) = got
    assert event["event"] == "pt-pipeline.run.failed"
    assert event["resource"] == {"prefect.resource.id": "pt-pipeline.run.r", "prefect.resource.name": "r"}
    assert event["payload"]["body"].startswith("see http://host/x\nxxx")
    assert len(event["payload"]["body"]) == 4000


def test_a_wrong_password_is_a_warning(got: list[dict[str, Any]], hear: Callable[[str], list[str]]) -> None:
    told = hear("tasks.events")
    with temporary_settings({PREFECT_API_AUTH_STRING: "admin:wrong"}):
        assert not say()
    assert told == ["pt-pipeline.run.failed: the event was not taken by Prefect: HTTPStatusError"]
    assert got == []


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/api"


def test_a_server_that_hangs_or_is_gone_costs_seconds_and_a_warning(hear: Callable[[str], list[str]]) -> None:
    told = hear("tasks.events")
    with silent() as hanging:
        for url in (hanging, f"http://127.0.0.1:{free_port()}/api"):
            with temporary_settings({PREFECT_API_URL: url}):
                started = time.monotonic()
                assert not say()
                assert time.monotonic() - started < PATIENCE_S + 2
    assert [line.rpartition(": ")[2] for line in told] == ["ReadTimeout", "ConnectError"]


def test_without_a_server_nothing_is_started_to_tell(
    hear: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    told = hear("tasks.events")
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert not say()
    assert told == []


def test_a_promotion_and_a_rollback_are_told_in_a_sentence(got: list[dict[str, Any]]) -> None:
    done = Promotion(
        id="p",
        kind="promotion",
        model="digits",
        expected="3",
        version="4",
        state="champion",
        run_name="run-7",
        variant="onnx",
    )
    tell_promoted(done)
    tell_promoted(
        done.model_copy(update={"kind": "rollback", "expected": "4", "version": "3", "forced_because": None})
    )
    tell_promoted(done.model_copy(update={"state": "undone"}))
    tell_promoted(done.model_copy(update={"version": "3"}))
    assert [event["payload"]["body"] for event in got] == [
        "digits has a new champion: models:/digits/4 (onnx of the run run-7), in the place of version 3.",
        "digits was rolled back: champion is again models:/digits/3 (onnx of the run run-7), in the place of version 4.",
    ]
    assert {event["resource"]["prefect.resource.id"] for event in got} == {"pt-pipeline.model.digits"}


def test_a_failed_stage_is_told_and_an_interrupt_is_not(got: list[dict[str, Any]]) -> None:
    tell_failed("digits", "run-7", KeyboardInterrupt())
    tell_failed("digits", "run-7", StepFailed("onnx: opset 9 is below 13", details=["a detail"]))
    (event,) = got
    assert event["payload"]["body"] == "digits: the run run-7 failed. StepFailed: onnx: opset 9 is below 13"
