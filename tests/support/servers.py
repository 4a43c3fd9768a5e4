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


def _ports() -> Iterator[int]:
    """Yield ports that no other worker of the tests takes, nor the system for what asks it for any; none twice."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 6
    for number in range(2000):
        # Where it begins tells apart those who run the tests at the same time.
        yield 20_000 + 2000 * worker + (os.getpid() + number) % 2000


_PORTS = _ports()


def free_port() -> int:
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("all ports of this worker were handed out")


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
