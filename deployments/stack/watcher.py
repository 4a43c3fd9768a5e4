"""The watcher: a process that outlives ``pt-pipeline up`` by a moment, and kills what it left should it be killed."""

from __future__ import annotations

import os
import subprocess
import sys

from deployments.stack.processes import sweep
from deployments.stack.services import inherited, python


class Watcher:
    """The watcher of a stack, seen from ``up``; it acts when this process ends without having said goodbye."""

    def __init__(self, token: str) -> None:
        """Start it for the stack of a token."""
        self._token = token
        self.process = self._start()

    def ensure(self) -> None:
        """Start another one where it has ended."""
        if self.process.poll() is not None:
            self.dismiss()
            self.process = self._start()

    def dismiss(self) -> None:
        """End it, once the stack has been stopped in order."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            python("deployments.stack.watcher"),
            stdin=subprocess.PIPE,
            env=inherited(),
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(f"{self._token}\n".encode())
        process.stdin.flush()
        return process


def main() -> None:
    """Wait until the pipe from ``up`` ends, which it does however ``up`` ends."""
    token = sys.stdin.readline().strip()
    # Unbuffered, so that nothing but the end of the pipe wakes it.
    while os.read(sys.stdin.fileno(), 1):
        pass
    sweep(token)


if __name__ == "__main__":
    main()
