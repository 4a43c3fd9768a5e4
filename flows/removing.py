"""Remove folders so that a kill at any moment leaves each either whole or gone: renamed away first, deleted after."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from flows.home import Home
from pt_core.bundle import sweep

TRASH = ".trash"
"""Name of the folder, in each that something is removed from, of what is being deleted: on the same disk in any case."""
_DOOMED = "doomed-"
"""What a name in the trash starts with once the aliases were looked at for the last time."""


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


def doom(moved: Iterable[Moved]) -> tuple[tuple[Moved, ...], tuple[str, ...]]:
    """Mark folders in the trash as those that any removal deletes unasked.

    Returns:
        Those that were, and why others could not be, a line each.
    """
    marked, problems = [], []
    for one in moved:
        place = one.place.with_name(_DOOMED + one.place.name)
        try:
            one.place.rename(place)
        except OSError as error:
            problems.append(f"{one.place}: cannot be removed: {error.strerror}")
        else:
            marked.append(Moved(one.origin, place))
    return tuple(marked), tuple(problems)


def put_left_overs_back(home: Home) -> tuple[str, ...]:
    """Put back what a killed removal left undoomed, since an alias may have come to name it; ask as :func:`doomed`.

    What was made again meanwhile is there already: its old copy is doomed.

    Returns:
        Why some could not be, a line each.
    """
    problems: list[str] = []
    for place in in_trash(home):
        one = Moved(place.parents[1] / place.name.partition("-")[2], place)
        if not _is_doomed(place):
            problems += doom([one])[1] if one.origin.exists() else put_back([one])
    return tuple(problems)


def in_trash(home: Home) -> tuple[Path, ...]:
    """Return what lies in the trash of a home, of killed removals too."""
    folders = [folder / TRASH for folder in (Path(home.store), home.releases, home.runs)]
    return tuple(path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()))


def doomed(home: Home) -> tuple[Path, ...]:
    """Return what is to be deleted, of killed removals too; ask while no other removal is at work."""
    return tuple(path for path in in_trash(home) if _is_doomed(path))


def _is_doomed(place: Path) -> bool:
    return place.name.startswith(_DOOMED)


def delete(folders: Iterable[Path]) -> tuple[str, ...]:
    """Delete folders of the trash; return which would not go, a line each."""
    problems = []
    for folder in folders:
        if folder.is_symlink():  # a run that was put on another disk
            folder.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            problems.append(f"{folder}: cannot be deleted")
    return tuple(problems)


def sweep_all(home: Home) -> int:
    """Delete what dead writers left; return how many folders."""
    return sum(sweep(folder) for folder in (Path(home.store), home.releases))


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder; what is removed meanwhile counts as nothing."""
    files = (Path(directory) / name for directory, _, names in os.walk(folder) for name in names)
    return sum(_size(path) for path in files)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
