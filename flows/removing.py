"""Remove folders so that a kill at any moment leaves each either whole or gone: renamed away first, deleted after."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from flows.home import Home
from pt_core.bundle import sweep


def trash_of(home: Home) -> Path:
    """Return the folder of what is being deleted; what lies there belongs to nobody."""
    return Path(home.root) / "trash"


def put_away(folders: Sequence[Path], trash: Path) -> tuple[str, ...]:
    """Rename folders into the trash, each by one call of the system; return why some could not be, a line each."""
    if not folders:
        return ()
    trash.mkdir(parents=True, exist_ok=True)
    problems = []
    for folder in folders:
        try:
            folder.rename(trash / f"{uuid.uuid4().hex[:8]}-{folder.name}")
        except FileNotFoundError:  # another maintenance was quicker
            continue
        except OSError as error:
            problems.append(f"{folder}: cannot be removed: {error.strerror}")
    return tuple(problems)


def empty(trash: Path) -> tuple[str, ...]:
    """Delete what lies in the trash, of earlier removals too; return what would not go, a line each."""
    if not trash.is_dir():
        return ()
    for folder in trash.iterdir():
        shutil.rmtree(folder, ignore_errors=True)
    return tuple(f"{folder}: cannot be deleted" for folder in trash.iterdir())


def sweep_all(home: Home) -> int:
    """Delete what dead writers and an interrupted removal left; return how many folders."""
    trash = trash_of(home)
    num_left = len(list(trash.iterdir())) if trash.is_dir() else 0
    empty(trash)
    return num_left + sum(sweep(folder) for folder in (Path(home.store), home.releases))


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
