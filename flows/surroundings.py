"""What a run rests on besides its configuration: the installed distributions, the sources it may import, the processor."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from pt_core.environment import describe_environment
from pt_core.record import Record

logger = logging.getLogger(__name__)

PRODUCT = Path(__file__).parents[1]
"""Folder of our own packages."""
_OWN = ("flows", "tasks")
_INSTALLED = ("site-packages", "dist-packages")
_MAX_ENTRIES = 20_000
"""Files and folders that are looked at below one folder: one of PYTHONPATH may be a home, or hold the data."""


class Surroundings(Record):
    """What besides the configuration decides what a run finds, or how fast that is."""

    distributions: tuple[str, ...]
    """Every installed distribution, as name==version."""
    own_sha256: tuple[str, ...]
    """Digests of the flows and tasks of this product."""
    code_sha256: tuple[str, ...]
    """Digests of the Python files below the folder of the configuration, then of every one of PYTHONPATH."""
    cpu_model: str
    """Name of the processor, on which every time depends."""


def describe_surroundings(base_dir: Path) -> Surroundings:
    """Describe what a run of a configuration in this folder rests on besides it.

    Not covered is code that is on no such path: what an editable installation or a .pth file points at, and compiled
    modules.
    """
    named = [Path(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    given = [base_dir.resolve(), *(path.resolve() for path in named)]
    own = {PRODUCT, PRODUCT / "deployments" / "configs"}
    folders = [path for path in dict.fromkeys(given) if path.is_dir() and path not in own]
    return Surroundings(
        distributions=tuple(sorted({f"{one.name}=={one.version}" for one in distributions()})),
        own_sha256=tuple(sources_digest(PRODUCT / name) for name in _OWN),
        code_sha256=tuple(
            sources_digest(folder) for folder in folders if not set(_INSTALLED) & set(folder.parts)
        ),
        cpu_model=describe_environment().cpu_model,
    )


def sources_digest(folder: Path, *, max_entries: int = _MAX_ENTRIES) -> str:
    """Return the SHA-256 of the Python files below a folder; of the first ones, with a warning, where it is too large."""
    digest = hashlib.sha256()
    for number, path in enumerate(_entries(folder)):
        if number == max_entries:
            logger.warning(
                "%s: holds more than %d files; whether code changed is told by those that come first by name",
                folder,
                max_entries,
            )
            break
        if path.suffix == ".py" and path.is_file() and os.access(path, os.R_OK):
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _entries(folder: Path) -> Iterator[Path]:
    """Yield what lies below a folder, always in the same order, without hidden folders and environments."""
    for parent, folders, files in os.walk(folder):
        at = Path(parent)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in (*_INSTALLED, "__pycache__")
            and not (at / name / "pyvenv.cfg").exists()
        )
        yield from (at / name for name in (*sorted(files), *folders))
