"""The watcher: a process that outlives ``pt-pipeline up`` by a moment, and kills what it left should it be killed."""

from __future__ import annotations

import os
import subprocess
import sys

from deployments.stack.processes import sweep
from deployments.stack.services import python


def start_watcher(token: str) -> subprocess.Popen[bytes]:
    """Start the watcher of a stack; it acts when this process ends without having said goodbye."""
    watcher = subprocess.Popen(
        python("deployments.stack.watcher"), stdin=subprocess.PIPE, start_new_session=True
    )
    assert watcher.stdin is not None
    watcher.stdin.write(f"{token}\n".encode())
    watcher.stdin.flush()
    return watcher


def dismiss(watcher: subprocess.Popen[bytes]) -> None:
    """End the watcher of a stack that has been stopped in order."""
    watcher.kill()
    watcher.wait()
    if watcher.stdin:
        watcher.stdin.close()


def main() -> None:
    """Wait until the pipe from ``up`` ends, which it does however ``up`` ends."""
    token = sys.stdin.readline().strip()
    # Unbuffered, so that nothing but the end of the pipe wakes it.
    while os.read(sys.stdin.fileno(), 1):
        pass
    sweep(token)


if __name__ == "__main__":
    main()
