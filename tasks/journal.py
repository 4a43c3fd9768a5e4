"""The journal of promotions in the home folder: written before and after every step, locked while its process lives."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from pt_core.errors import IntegrityError
from pt_core.files import write_text_atomically
from tasks.promotion import Promotion

logger = logging.getLogger(__name__)


def write(folder: Path, promotion: Promotion) -> Promotion:
    """Write a promotion down, whole or not at all, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / f"{promotion.id}.json", promotion.model_dump_json(indent=2))
    return promotion


def read(folder: Path, identity: str) -> Promotion | None:
    """Return a promotion by its id; ``None`` if nothing was written down.

    Raises:
        IntegrityError: what is written is no promotion.
    """
    path = folder / f"{identity}.json"
    try:
        return Promotion.from_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise IntegrityError(
            f"{path}: not the journal of a promotion that this version reads; look at the aliases with pt-pipeline "
            "versions, then remove the file"
        ) from error


def attempts(folder: Path, flow_run_id: str) -> tuple[Promotion, ...]:
    """Return the promotions that a flow run began, the first one first: each time it is run again it may begin another.

    Raises:
        IntegrityError: what is written is no promotion.
    """
    found: list[Promotion] = []
    while (promotion := read(folder, _attempt(flow_run_id, len(found)))) is not None:
        found.append(promotion)
    return tuple(found)


def next_attempt(folder: Path, flow_run_id: str) -> str:
    """Return the id of the next promotion of a flow run.

    Raises:
        IntegrityError: what is written is no promotion.
    """
    return _attempt(flow_run_id, len(attempts(folder, flow_run_id)))


def _attempt(flow_run_id: str, number: int) -> str:
    return f"{flow_run_id}-{number + 1}" if number else flow_run_id


@contextlib.contextmanager
def alive(folder: Path, identity: str) -> Iterator[None]:
    """Tell others, while the block runs, that this process is at work on a promotion.

    Raises:
        TimeoutError: another process is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The system drops the lock with the process, however that ends.
    with FileLock(folder / f"{identity}.alive", timeout=0):
        yield


def left_open(folder: Path) -> tuple[Promotion, ...]:
    """Return the promotions that their process left before they ended, the oldest first."""
    found = [promotion for promotion in read_all(folder) if promotion.is_left]
    return tuple(promotion for promotion in found if not _is_alive(folder, promotion.id))


def read_all(folder: Path) -> tuple[Promotion, ...]:
    """Return every promotion of this home, the oldest first; what is no journal is told of and left alone."""
    found = []
    for path in folder.glob("*.json"):
        try:
            promotion = read(folder, path.stem)
        except IntegrityError as error:
            logger.warning("%s", error)
            continue
        if promotion is not None:
            found.append(promotion)
    return tuple(sorted(found, key=lambda one: one.started_at))


def unreadable(folder: Path) -> dict[Path, str]:
    """Return the texts of what is no journal that this version reads, by their files."""
    texts = {path: path.read_bytes() for path in folder.glob("*.json")}
    return {path: text.decode(errors="replace") for path, text in texts.items() if not _is_promotion(text)}


def _is_promotion(text: bytes) -> bool:
    try:
        Promotion.from_json(text)
    except ValidationError:
        return False
    return True


def _is_alive(folder: Path, identity: str) -> bool:
    try:
        with alive(folder, identity):
            return False
    except Timeout:
        return True
