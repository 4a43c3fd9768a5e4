"""The outbox of a run that this process owns: what is for MLflow is on the disk first, and a thread sends it, in order.

Nothing waits for a server that is away. When it is back, the thread goes on with the entry that it stopped at.
"""

from __future__ import annotations

import collections
import logging
import math
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from pt_core.errors import StepFailed
from tasks.answering import is_away
from tasks.dashboard import without_secrets
from tasks.outbox_entries import Done, Entry, LogFiles, Opened, OpenRun, Refused
from tasks.outbox_file import OutboxFile
from tasks.outbox_place import Place
from tasks.outbox_refusal import describe, refusal
from tasks.outbox_send import connect, send

logger = logging.getLogger(__name__)

HELD_UP_S = 1.0
"""How long a run waits for a server that does not answer before it takes it to be away."""
LONGEST_S = 2.0
"""How long one call is held up in all, by a server that is slow or has much to take."""

_PROBE_EVERY_S = 0.5
_LONGEST_PAUSE_S = 5.0


class Outbox:
    """The outbox of one run, of which this process is the owner."""

    def __init__(self, path: Path, opened: Opened) -> None:
        """Take a new file, or one that its process left; who has no lock on it must not.

        Raises:
            IntegrityError: the file is damaged.
            StepFailed: the disk does not take the first line.
        """
        self.path = path
        self._file = OutboxFile(path)
        if not self._file.lines:
            self._file.append(opened)
        self.tracking_uri = opened.tracking_uri
        self.known: dict[str, Done] = {}
        self.refused: list[str] = []
        self.num_sent = 0
        self._pending: collections.deque[Entry] = collections.deque()
        self._changed = threading.Condition()
        self._away: Exception | None = None
        self._why = ""
        self._told = False
        self._slow = False
        self._gave_up = False
        self._ends = False
        self._pauses = 0
        self._raised = 0
        self._doubtful = False
        self._take_over()
        # What an earlier process left may have been taken all the same: it did not wait for the disk to keep that.
        self._left = frozenset(entry.id for entry in self._pending)
        self._when_open: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._send_all, name=f"outbox {path.name}", daemon=True)

    @property
    def files(self) -> Path:
        """Where files wait."""
        return self.path.with_suffix("")

    @property
    def num_left(self) -> int:
        """How many entries wait."""
        return len(self._pending)

    @property
    def problem(self) -> Exception | None:
        """Why nothing is sent now; ``None`` while the server takes what it gets."""
        return self._away or (TimeoutError("no answer") if self._slow else None)

    @property
    def why(self) -> str:
        """What is wrong, to be said after the server's name."""
        return self._why if self._away else "does not answer in time"

    def start(self, lock: FileLock, *, when_open: Callable[[], None] | None = None) -> None:
        """Begin to send; the thread lets go of the lock when it ends.

        Args:
            lock: says whose the file is.
            when_open: called as soon as the server has created the run.
        """
        self._lock, self._when_open = lock, when_open
        self._thread.start()

    def append(self, *entries: Entry) -> None:
        """Write entries down; they are sent as soon as MLflow takes them.

        Raises:
            StepFailed: the disk does not take them.
        """
        with self._changed:
            self._file.append(*entries)
            self._pending.extend(entries)
            self._changed.notify_all()

    def wait(self, *, held_up_s: float = HELD_UP_S, though_away: bool = False) -> bool:
        """Wait while MLflow takes what is pending; return whether all of it was sent.

        Args:
            held_up_s: for how long nothing may be taken.
            though_away: whether to wait for a server that is known to be away, and on for one that is only slow.

        Raises:
            StepFailed: MLflow refused something, told once.
        """
        ends = time.monotonic() + (math.inf if though_away else LONGEST_S)
        while self._stalls(held_up_s, ends, though_away=though_away):
            # Asked without the lock: the thread that sends needs it too.
            if not though_away or self._away or is_away(self.tracking_uri):
                with self._changed:
                    self._slow = bool(self._pending)
                return False
        with self._changed:
            if self._pending and self._thread.is_alive():
                return False
            self._raise_refused()
            return not self._pending

    def _stalls(self, held_up_s: float, ends: float, *, though_away: bool) -> bool:
        """Wait while entries are taken; return whether none was for too long."""
        patience = max(held_up_s, _PROBE_EVERY_S)
        with self._changed:
            count, since = self.num_sent, time.monotonic()
            while self._pending and self._thread.is_alive() and (though_away or not self.problem):
                if self.num_sent != count:
                    count, since = self.num_sent, time.monotonic()
                left = min(since + patience, ends) - time.monotonic()
                if left <= 0:
                    return True
                self._changed.wait(left)
            return False

    def drain(self, patience_s: float) -> bool:
        """Wait for a server that is away too, once in the life of a run; return whether all was sent.

        Raises:
            StepFailed: MLflow refused something, told once.
        """
        sent = self.wait(held_up_s=HELD_UP_S if self._gave_up else patience_s, though_away=True)
        self._gave_up = not sent
        return sent

    def close(self) -> None:
        """Stop sending. The file goes if all was sent; else it stays for who comes next."""
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        if not self._away:
            self._thread.join(timeout=HELD_UP_S)

    def _raise_refused(self) -> None:
        new, self._raised = self.refused[self._raised :], len(self.refused)
        if new:
            raise StepFailed(
                f"MLflow at {without_secrets(self.tracking_uri)}: refused {len(new)} entries", details=new
            )

    def _take_over(self) -> None:
        """Read what an earlier process left."""
        for line in self._file.lines:
            match line:
                case Opened():
                    pass
                case Done():
                    self.known[line.id] = line
                case Refused():
                    self.refused.append(f"{line.id}: {line.reason}")
                case _:
                    self._pending.append(line)
        settled = {line.id for line in self._file.lines if isinstance(line, Done | Refused)}
        self._pending = collections.deque(entry for entry in self._pending if entry.id not in settled)

    def _send_all(self) -> None:
        place = None
        try:
            while (entry := self._next()) is not None:
                try:
                    place = place or Place(connect(self.tracking_uri), self.known)
                    self._settle(entry, self._send(place, entry))
                except Exception as error:  # noqa: BLE001 - whatever it is, the entry is kept and the run is told
                    reason = refusal(error, entry, self.known)
                    if reason is None:
                        self._wait_until_back(entry, error)
                    else:
                        self._settle(entry, Refused(id=entry.id, reason=reason))
        finally:
            self._retire()

    def _send(self, place: Place, entry: Entry) -> Done:
        again = self._doubtful or entry.id in self._left
        return send(place, entry, again=again, num_failures=self._pauses)

    def _next(self) -> Entry | None:
        """Return the entry to send; ``None`` when all is sent and no more will come, or when it is time to leave."""
        with self._changed:
            while not self._pending and not self._ends:
                self._changed.wait()
            return self._pending[0] if self._pending and not (self._ends and self._away) else None

    def _settle(self, entry: Entry, line: Done | Refused) -> None:
        is_sent_copy = isinstance(entry, LogFiles) and entry.is_copy and isinstance(line, Done)
        try:
            # What is not known to have been taken is looked for before it is sent again: only what could not be sent
            # again, since its files are removed, has to be known for certain.
            self._file.append(line, durably=is_sent_copy)
            if isinstance(entry, LogFiles) and is_sent_copy:
                shutil.rmtree(entry.folder, ignore_errors=True)
        except StepFailed as error:
            logger.warning("%s", error)
        with self._changed:
            if isinstance(line, Done):
                self.known[line.id] = line
            else:
                self.refused.append(f"{entry.kind}: {line.reason}")
            self._pending.popleft()
            self.num_sent += 1
            if self._told:
                logger.warning("MLflow at %s answers again", without_secrets(self.tracking_uri))
            self._away, self._told, self._slow, self._doubtful, self._pauses = None, False, False, False, 0
            self._changed.notify_all()
        if self._when_open and isinstance(entry, OpenRun) and entry.parent is None and isinstance(line, Done):
            self._when_open()

    def _wait_until_back(self, entry: Entry, error: Exception) -> None:
        """Wait until the server's health page answers, and longer each time that it answers and still takes nothing."""
        away = is_away(self.tracking_uri)
        takes_not = f"answers, but the {entry.kind} of the run cannot be sent ({describe(error)})"
        with self._changed:
            self._doubtful = True
            self._away = error
            self._why = f"does not answer ({away})" if away else takes_not
            self._changed.notify_all()
            self._tell()
            self._pauses += 1
            pause = min(_PROBE_EVERY_S * 2 ** (self._pauses - 1), _LONGEST_PAUSE_S)
            self._changed.wait_for(lambda: self._ends, pause)
        while not self._ends and is_away(self.tracking_uri):
            with self._changed:
                self._pauses = 0
                self._changed.wait_for(lambda: self._ends, _PROBE_EVERY_S)

    def _tell(self) -> None:
        if self._told:
            return
        self._told = True
        logger.warning(
            "MLflow at %s %s; the run goes on, and what is for MLflow waits in %s",
            without_secrets(self.tracking_uri),
            self._why,
            self.path,
        )

    def _retire(self) -> None:
        with self._changed:
            self._file.close()
            if not self._pending:
                if self.refused:
                    # Kept as evidence, under a name that nobody sends again.
                    self.path.replace(self.path.with_suffix(".refused"))
                else:
                    self.path.unlink(missing_ok=True)
                    shutil.rmtree(self.files, ignore_errors=True)
                Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()
