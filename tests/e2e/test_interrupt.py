"""An interrupted run stops its work at once, closes its runs, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
PATIENCE_S = 240


def processes_of(home: Path) -> list[str]:
    """Return the command lines of all processes that name a home folder in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
        if str(home).encode() in environment and command:
            found.append(command)
    return found


def wait_for_training(home: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if any("training.fit:train" in command for command in processes_of(home)):
            time.sleep(2)
            return
        time.sleep(0.2)
    pytest.fail("training did not start")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc; run it on Linux")
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_the_run_and_everything_it_started(
    tmp_path: Path, command: Path, sign: signal.Signals, code: int
) -> None:
    home = tmp_path / "home"
    process = subprocess.Popen(
        [str(command), "run", "--json", "--set", "train.epochs=5000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PT_PIPELINE_HOME": str(home)},
        # A shell starts what it runs in the background with this signal ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_for_training(home)
        process.send_signal(sign)
        _, messages = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, messages
    assert "Traceback" not in messages
    end = time.monotonic() + 20
    while processes_of(home) and time.monotonic() < end:
        time.sleep(0.2)
    assert processes_of(home) == []
    with sqlite3.connect(home / "mlflow.db") as database:
        states: list[Any] = database.execute("select status from runs").fetchall()
    assert states == [("FAILED",)]
