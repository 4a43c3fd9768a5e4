"""Remove folders so that a kill at any moment leaves each either whole or gone: renamed away first, deleted after."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from flows.home import Home
from pt_core.bundle import sweep

TRASH = ".trash"
"""Name of the folder, in each that something is removed from, of what is being deleted: on the same disk in any case."""


class Moved(NamedTuple):
    """A folder that was renamed into the trash."""

    origin: Path
    """Where it was."""
    place: Path
    """Where it is."""


def put_away(folders: Iterable[Path]) -> tuple[tuple[Moved, ...], tuple[str, ...]]:
    """Rename folders into the trash beside them, each by one call of the system.

    Returns:
        Those that were, and why others could not be, a line each.
    """
    moved, problems = [], []
    for folder in folders:
        place = folder.parent / TRASH / f"{uuid.uuid4().hex[:8]}-{folder.name}"
        try:
            place.parent.mkdir(exist_ok=True)
            folder.rename(place)
        except FileNotFoundError:  # somebody removed it by hand
            continue
        except OSError as error:
            problems.append(f"{folder}: cannot be removed: {error.strerror}")
        else:
            moved.append(Moved(folder, place))
    return tuple(moved), tuple(problems)


def put_back(moved: Iterable[Moved]) -> tuple[str, ...]:
    """Rename folders from the trash to where they were; return why some could not be, a line each."""
    problems = []
    for one in moved:
        try:
            one.place.rename(one.origin)
        except OSError as error:
            problems.append(
                f"{one.place}: is needed and cannot be put back as {one.origin}: {error.strerror}"
            )
    return tuple(problems)


def in_trash(home: Home) -> tuple[Path, ...]:
    """Return what lies in the trash of a home, of killed removals too; ask while no other removal is at work."""
    folders = [folder / TRASH for folder in (Path(home.store), home.releases, home.runs)]
    return tuple(path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()))


def delete(folders: Iterable[Path]) -> tuple[str, ...]:
    """Delete folders of the trash; return which would not go, a line each."""
    problems = []
    for folder in folders:
        if folder.is_symlink():  # a run that was put on another disk
            folder.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            problems.append(f"{folder}: cannot be deleted")
    return tuple(problems)


def sweep_all(home: Home) -> int:
    """Delete what dead writers left; return how many folders."""
    return sum(sweep(folder) for folder in (Path(home.store), home.releases))


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
