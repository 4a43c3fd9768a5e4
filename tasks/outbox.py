"""The outboxes of a home: opened by a run, and sent by whoever comes next where the run left one behind.

A lock that the system drops with the process says whose file it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import uuid
from pathlib import Path

from filelock import FileLock, Timeout

from pt_core.errors import ConfigError, IntegrityError, PtCoreError, StepFailed
from pt_core.record import Record
from tasks.dashboard import without_secrets
from tasks.outbox_entries import (
    CloseRun,
    Done,
    LogFiles,
    LogModel,
    LogRecord,
    Opened,
    OpenRun,
    Refused,
    new_id,
)
from tasks.outbox_file import read
from tasks.outbox_run import Outbox

logger = logging.getLogger(__name__)

FOLDER = "outbox"
"""Where the outboxes of a home are."""
PATIENCE_VARIABLE = "PT_PIPELINE_MLFLOW_PATIENCE_S"
"""Environment variable: how long the end of a run waits for a server that is away, in seconds."""
DEFAULT_PATIENCE_S = 120.0


class Replayed(Record):
    """What became of an outbox that a run left behind."""

    path: str
    """The file; it is gone where everything was sent."""
    run_name: str
    """Name of the run; nothing where the file cannot be read."""
    num_sent: int
    """How many entries MLflow has taken now."""
    num_left: int
    """How many wait on."""
    problem: str | None
    """Why some wait on, or what was refused; ``None`` where all is there."""


def open_outbox(folder: Path, opened: Opened) -> Outbox:
    """Start the outbox of a new run, under the run's name; once the run is open, what others left behind is sent too.

    Raises:
        StepFailed: the disk does not take it.
    """
    # People use names again, and runs of one name are not to share a file.
    path = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', opened.run_name)}-{uuid.uuid4().hex[:8]}.jsonl"
    lock = _lock(path)
    lock.acquire(timeout=0)
    outbox = Outbox(path, opened)
    outbox.start(lock, when_open=lambda: _replay_in_background(folder.parent, opened.tracking_uri))
    return outbox


def _replay_in_background(home: Path, tracking_uri: str) -> None:
    """Send what earlier runs of a home left behind, while this one goes on; what is not sent in time waits on."""
    if left_behind(home):
        threading.Thread(target=replay_all, args=(home, tracking_uri), name="replay", daemon=True).start()


def replay_all(home: Path, tracking_uri: str, *, patience_s: float = 3.0) -> tuple[Replayed, ...]:
    """Send what the runs of a home left behind for a server; return what became of each, and of those for others.

    An outbox whose process lives is not touched. A run whose process ended before the run did is closed as KILLED.

    Args:
        home: the home folder.
        tracking_uri: the server. The credentials at hand are for it, so no other gets to see them.
        patience_s: how long to wait for a server that does not answer.
    """
    return tuple(
        found
        for path in sorted((home / FOLDER).glob("*.jsonl"))
        if (found := _replay(path, tracking_uri, patience_s)) is not None
    )


def left_behind(home: Path) -> tuple[Path, ...]:
    """Return the outboxes of a home that no living process owns."""
    return tuple(path for path in sorted((home / FOLDER).glob("*.jsonl")) if _is_left(path))


def patience_s() -> float:
    """Return how long the end of a run waits for a server that is away.

    Raises:
        ConfigError: the environment says no number of seconds.
    """
    said = os.environ.get(PATIENCE_VARIABLE) or str(DEFAULT_PATIENCE_S)
    try:
        seconds = float(said)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ConfigError(f"{PATIENCE_VARIABLE}: {said!r}: expected a number of seconds, 0 or more")
    return seconds


def _lock(path: Path) -> FileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The thread that sends lets go of it, and not the one that took it.
    return FileLock(path.with_suffix(".lock"), thread_local=False)


def _is_left(path: Path) -> bool:
    try:
        with _lock(path).acquire(timeout=0):
            return path.exists()
    except Timeout:
        return False


def _replay(path: Path, tracking_uri: str, patience_s: float) -> Replayed | None:
    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    try:
        outbox = _left_by_its_process(path, tracking_uri)
    except (PtCoreError, OSError) as error:
        lock.release()
        logger.warning("%s", error)
        return Replayed(path=str(path), run_name="", num_sent=0, num_left=0, problem=str(error))
    if outbox is None:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
        return None
    outbox.start(lock)
    problem = None
    try:
        if not outbox.drain(patience_s):
            problem = f"MLflow at {without_secrets(tracking_uri)} {outbox.why}"
    except StepFailed as error:
        problem = str(error)
    finally:
        outbox.close()
    return Replayed(
        path=str(path),
        run_name=path.stem,
        num_sent=outbox.num_sent,
        num_left=outbox.num_left,
        problem=problem,
    )


def folders_waiting(home: Path) -> frozenset[str]:
    """Return the folders that entries of this home's outboxes wait to send, so that nobody removes them before.

    Raises:
        IntegrityError: an outbox is damaged, so that nobody can know.
    """
    found = set()
    for path in sorted((home / FOLDER).glob("*.jsonl")):
        with contextlib.suppress(FileNotFoundError):  # it was sent meanwhile
            lines, _ = read(path)
            settled = {line.id for line in lines if isinstance(line, Done | Refused)}
            found |= {line.bundle for line in lines if isinstance(line, LogModel) and line.id not in settled}
            found |= {
                line.folder
                for line in lines
                if isinstance(line, LogFiles | LogRecord) and line.id not in settled
            }
    return frozenset(found)


def runs_that_ended(home: Path) -> frozenset[str]:
    """Return MLflow's ids of runs that came to their end, of which MLflow has yet to hear from an outbox of this home."""
    found = set()
    for path in (home / FOLDER).glob("*.jsonl"):
        with contextlib.suppress(
            FileNotFoundError, IntegrityError
        ):  # of what is damaged nothing will be heard
            lines, _ = read(path)
            known = {line.id: line.run_id for line in lines if isinstance(line, Done) and line.run_id}
            ended = [line.run for line in lines if isinstance(line, CloseRun) and line.status != "KILLED"]
            found |= {known.get(run, run) for run in ended}
    return frozenset(found)


def _left_by_its_process(path: Path, tracking_uri: str) -> Outbox | None:
    """Open an outbox, with the runs that its process left open to be closed as killed; ``None`` where nothing was left.

    Raises:
        ConfigError: it is for another server.
        IntegrityError: the file is damaged, or is no outbox.
    """
    if not path.exists():
        return None
    lines, _ = read(path)
    if not lines:
        # Its process was killed before the first line was whole.
        path.unlink()
        return None
    if not isinstance(lines[0], Opened):
        raise IntegrityError(
            f"{path}: does not begin with what it is for; nothing of it was sent, remove the file"
        )
    if lines[0].tracking_uri.rstrip("/") != tracking_uri.rstrip("/"):
        raise ConfigError(
            f"for {without_secrets(lines[0].tracking_uri)}; set MLFLOW_TRACKING_URI to it to send what is in {path}"
        )
    ended_ms = int(path.stat().st_mtime * 1000)
    closed = {line.run for line in lines if isinstance(line, CloseRun)}
    outbox = Outbox(path, lines[0])
    for line in lines:
        if isinstance(line, OpenRun) and line.id not in closed:
            outbox.append(CloseRun(id=new_id(), run=line.id, status="KILLED", end_ms=ended_ms))
    return outbox
