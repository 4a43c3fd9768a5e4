"""Signals as something to look at: a stack is stopped between two steps, never in the middle of one."""

from __future__ import annotations

import signal
import time

_POLL_S = 0.1


class Interrupts:
    """Counts the signals that ask this process to end."""

    def __init__(self) -> None:
        self.num = 0

    def listen(self) -> None:
        """Count from now on; a closed terminal asks for the same as Ctrl-C, unless nohup has said that it shall not."""
        signal.signal(signal.SIGINT, self._count)
        signal.signal(signal.SIGTERM, self._count)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._count)

    def wait(self, seconds: float) -> bool:
        """Wait, and return whether this process was asked to end."""
        end = time.monotonic() + seconds
        while not self.num and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_S))
        return self.num > 0

    def hasten(self) -> bool:
        """Return whether it was asked a second time."""
        return self.num > 1

    def _count(self, number: int, frame: object) -> None:
        self.num += 1
