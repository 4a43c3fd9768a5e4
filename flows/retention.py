"""Which runs and bundles of a home stay, and why; only files are looked at here, and nothing is changed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from pt_core.manifest import MANIFEST, MAX_MANIFEST_BYTES

ORPHAN_AGE_S = 7 * 86_400
"""A bundle that no run names is what a failed run built, or a training alone: it stays this long to be used again."""

_MARK = re.compile(r"(?<![0-9a-f])([0-9a-f]{64}|[0-9a-f]{12})(?![0-9a-f])")
_BUNDLE = re.compile(r".+-[0-9a-f]{12}|[0-9a-f]{64}")

Marks = frozenset[str]
"""The first twelve digits of digests, which the names of bundles end with."""


class StoredRun(NamedTuple):
    """A folder below ``runs``."""

    directory: Path
    """Where it is; its name is the run's."""
    pipeline: str | None
    """Name of the pipeline; ``None`` where the result cannot be read."""
    started_at: str
    """Start, ISO 8601 in UTC."""
    mlflow_run_id: str | None
    """Its parent run in MLflow."""
    marks: Marks
    """Every digest that its result names, whatever for."""

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.directory.name


class StoredBundle(NamedTuple):
    """A sealed folder below ``store`` or ``releases``."""

    directory: Path
    """Where it is."""
    mark: str
    """Its own."""
    marks: Marks
    """Every digest that its manifest names: what it was made from."""
    changed: float
    """When it was written, in seconds since 1970."""


class Choice(NamedTuple):
    """What may be removed, and why the rest stays where that is not plain."""

    runs: tuple[StoredRun, ...]
    """Runs that may go."""
    bundles: tuple[StoredBundle, ...]
    """Bundles that may go."""
    kept: dict[str, str]
    """Older runs that stay all the same, and why."""

    @property
    def directories(self) -> tuple[Path, ...]:
        """The folders of all that may go."""
        return (*(run.directory for run in self.runs), *(bundle.directory for bundle in self.bundles))


def marks_in(text: str) -> Marks:
    """Return every digest that a text names, by its first twelve digits.

    Any record of any version is read this way: what is named once too often stays, which costs a little disk.
    """
    return frozenset(found[:12] for found in _MARK.findall(text))


def stored_runs(folder: Path) -> tuple[StoredRun, ...]:
    """Return every finished run, the newest first; those whose result cannot be read come first."""
    found = (_unless_gone(_stored_run, path.parent) for path in folder.glob("*/run.json"))
    runs = [run for run in found if run]
    return tuple(sorted(runs, key=lambda run: (run.pipeline is None, run.started_at, run.name), reverse=True))


def stored_bundles(folder: Path) -> tuple[StoredBundle, ...]:
    """Return every bundle of a folder by its name alone; staging folders and damaged ones that were set aside are none."""
    if not folder.is_dir():
        return ()
    found = sorted(path for path in folder.iterdir() if _BUNDLE.fullmatch(path.name))
    folders = (path for path in found if path.is_dir() and not path.is_symlink())
    return tuple(one for path in folders if (one := _unless_gone(_stored_bundle, path)))


def choose(
    runs: Sequence[StoredRun],
    bundles: Sequence[StoredBundle],
    *,
    keep_last: int,
    held: Mapping[str, str],
    held_marks: Marks,
    now: float,
) -> Choice:
    """Return what may be removed.

    Args:
        runs: as :func:`stored_runs` has them.
        bundles: of every folder.
        keep_last: how many runs of each pipeline stay, the newest.
        held: runs that stay however old they are, and why.
        held_marks: digests that stay, and all that they were made from.
        now: seconds since 1970.
    """
    newest = _newest(runs, keep_last)
    reasons = {
        run.name: held.get(run.name) or "its result cannot be read"
        for run in runs
        if run.name not in newest and (run.name in held or run.pipeline is None)
    }
    staying = [run for run in runs if run.name in newest or run.name in reasons]
    going = tuple(run for run in runs if run not in staying)
    needed = _closure(bundles, held_marks.union(*(run.marks for run in staying)))
    of_old_runs = frozenset[str]().union(*(run.marks for run in going))
    return Choice(
        runs=going,
        bundles=tuple(
            bundle
            for bundle in bundles
            if bundle.mark not in needed
            and (bundle.mark in of_old_runs or now - bundle.changed > ORPHAN_AGE_S)
        ),
        kept=reasons,
    )


def _newest(runs: Iterable[StoredRun], keep_last: int) -> Collection[str]:
    counted: dict[str, list[str]] = {}
    for run in runs:
        if run.pipeline is not None:
            counted.setdefault(run.pipeline, []).append(run.name)
    return {name for names in counted.values() for name in names[:keep_last]}


def _closure(bundles: Sequence[StoredBundle], marks: Marks) -> Marks:
    """Return the marks with those of all that the bundles they name were made from."""
    by_mark: dict[str, set[str]] = {}
    for bundle in bundles:
        by_mark.setdefault(bundle.mark, set()).update(bundle.marks)
    needed, to_visit = set(marks), list(marks)
    while to_visit:
        new = by_mark.get(to_visit.pop(), set()) - needed
        needed |= new
        to_visit.extend(new)
    return frozenset(needed)


S = TypeVar("S", StoredRun, StoredBundle)


def _unless_gone(read: Callable[[Path], S], directory: Path) -> S | None:
    """Return what a folder holds, or ``None`` where a removal moves it away while it is read."""
    try:
        return read(directory)
    except FileNotFoundError:
        return None


def _stored_run(directory: Path) -> StoredRun:
    text = (directory / "run.json").read_bytes().decode(errors="replace")
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    told = document if isinstance(document, dict) else {}
    pipeline, started, tracked = (told.get(key) for key in ("pipeline", "started_at", "mlflow_run_id"))
    is_readable = isinstance(pipeline, str) and isinstance(started, str)
    return StoredRun(
        directory=directory,
        pipeline=str(pipeline) if is_readable else None,
        started_at=str(started) if is_readable else "",
        mlflow_run_id=tracked if isinstance(tracked, str) else None,
        marks=marks_in(text),
    )


def _stored_bundle(directory: Path) -> StoredBundle:
    name = directory.name
    manifest = directory / MANIFEST
    text = ""
    if manifest.is_file() and manifest.stat().st_size <= MAX_MANIFEST_BYTES:
        text = manifest.read_bytes().decode(errors="replace")
    # A release that was fetched is named by its whole digest, all others end with twelve digits of it.
    mark = name[:12] if len(name) == 64 and "-" not in name else name[-12:]
    return StoredBundle(directory, mark, marks_in(text), directory.stat().st_mtime)
