"""Real servers for tests: a free port, a process group that is gone afterwards, and a wait until it answers."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

WAIT_S = 90


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def served(
    command: str, health: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run a shell-style command in its own process group until the block ends, however it ends."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["env", *shlex.split(command)],
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path, **(environment or {})},
            start_new_session=True,
        )
    try:
        wait_until_healthy(server, health, log)
        yield
    finally:
        stop_group(server)


def wait_until_healthy(server: subprocess.Popen[bytes], health: str, log: Path) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and server.poll() is None:
        if answers(health):
            return
        time.sleep(0.2)
    raise AssertionError(f"{health} does not answer:\n{log.read_text()[-3000:]}")


def answers(health: str) -> bool:
    try:
        with urllib.request.urlopen(health, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def stop_group(server: subprocess.Popen[bytes]) -> None:
    for sign, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            server.poll()
            try:
                os.killpg(server.pid, sign)
            except ProcessLookupError:
                return
            time.sleep(0.1)
    raise AssertionError("the server's process group is still there")
