"""Keep what it takes to run a failed step alone: its request, its error, the end of its output, a script."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from pt_core.bundle import staging, sweep
from pt_core.disk import FULL, full_disk
from pt_core.errors import PtCoreError, StepFailed, StepUnavailable
from pt_core.isolation import CODE_PATH_VARIABLE, Progress, child_environment, isolated
from pt_core.limits import Limits
from pt_core.record import Record

logger = logging.getLogger(__name__)

FAILURES = "failures"
"""Folder inside a store, with a folder for each failed step; bundles live beside it, never in it."""

_MAX_FAILURES = 50
_BAD_INPUT = 2

_SCRIPT = '''#!{python}
"""Run the failed step of this folder alone; --help says how."""

import os
import sys
from pathlib import Path

# As its own process had it, set before any library reads it.
for name, value in {environment!r}.items():
    os.environ.setdefault(name, value)

try:
    from pt_core.building.reproduce import main
except ModuleNotFoundError:
    sys.exit({said!r})

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent, sys.argv[1:]))
'''

R = TypeVar("R", bound=Record)


class Failure(Record):
    """How a step failed."""

    name: str
    """What the step is called."""
    target: str
    """The function that was run: "module:function"."""
    error: str
    """Name of the error's type."""
    message: str
    """The error's sentence."""
    details: tuple[str, ...]
    """The error's details, one line each."""
    limits: Limits
    """What the step was allowed to take."""
    num_threads: int | None
    """Cores it was allowed to use for numerical work; ``None`` means all."""


def run_recorded(
    target: str,
    request: Record,
    *,
    name: str,
    reply: type[R],
    store: Path,
    limits: Limits,
    num_threads: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> R:
    """Run a function in a fresh process, within limits; if it fails, keep what it takes to run it alone.

    Raises:
        PtCoreError: as :func:`pt_core.isolation.run_isolated`; the message names the script.
    """
    with recorded(name, target, request, store=store, limits=limits, num_threads=num_threads):
        run = isolated(
            limits,
            writes_to=store,
            num_threads=num_threads,
            on_progress=on_progress,
            environment=environment,
        )
        return run(target, request, reply=reply)


@contextlib.contextmanager
def recorded(
    name: str, target: str, request: Record, *, store: Path, limits: Limits, num_threads: int | None
) -> Iterator[None]:
    """Keep a failure of the block in ``<store>/failures/<name>-<digest of the request>``, and name its script.

    Bad input and what this machine lacks are no failures of a step, their message says it all. A step
    that succeeds takes its earlier failure away, and only the newest fifty are kept.
    """
    folder = _folder(store, name, request)
    try:
        yield
    except (PtCoreError, OSError) as raised:
        error = _named(raised, name, store)
        if error is None or isinstance(error, StepUnavailable) or error.exit_code == _BAD_INPUT:
            raise
        # A child that was killed leaves its staging directory, and on a full disk the room is needed.
        sweep(store)
        failure = Failure(
            name=name,
            target=target,
            error=type(error).__name__,
            message=error.message,
            details=error.details,
            limits=limits,
            num_threads=num_threads,
        )
        raise error.with_message(
            f"{error.message}; {_keep(folder, failure, request, error.output)}"
        ) from raised
    else:
        shutil.rmtree(folder, ignore_errors=True)


def forget(name: str, request: Record, *, store: Path) -> None:
    """Take away the failure of a request that another one has made good."""
    shutil.rmtree(_folder(store, name, request), ignore_errors=True)


def _folder(store: Path, name: str, request: Record) -> Path:
    return store / FAILURES / f"{re.sub(r'[^A-Za-z0-9._-]', '-', name)}-{request.content_digest()[:12]}"


def _named(error: PtCoreError | OSError, name: str, store: Path) -> PtCoreError | None:
    """Return a failure to write in this process as a named one, if it is a full disk."""
    if isinstance(error, PtCoreError):
        return error
    if error.errno in FULL:
        return StepFailed(f"{name}: {error}: {full_disk(str(error), [store])}")
    return None


def _keep(folder: Path, failure: Failure, request: Record, output: str) -> str:
    """Write the folder in one rename; return how to run the step alone, or why that cannot be kept."""
    command = shlex.join([sys.executable, str(folder / "reproduce.py")])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder.parent)
        with staging(folder.parent) as fresh, staging(folder.parent) as old:
            (fresh / "request.json").write_text(request.to_json())
            (fresh / "error.json").write_text(failure.to_json())
            (fresh / "output.log").write_text(output)
            script = _SCRIPT.format(
                python=sys.executable,
                said=f"pt_core is not installed for this interpreter; run: {command}",
                environment=_environment(failure.num_threads),
            )
            (fresh / "reproduce.py").write_text(script)
            (fresh / "reproduce.py").chmod(0o755)
            if folder.exists():
                folder.rename(old)
            fresh.rename(folder)
    except OSError as error:
        logger.warning("%s: the failure cannot be kept: %s", folder, error)
        return f"what it takes to run it alone cannot be kept: {error}"
    _forget_oldest(folder.parent)
    return f"to run it alone: {command}"


def _environment(num_threads: int | None) -> dict[str, str]:
    kept = {name: os.environ[name] for name in (CODE_PATH_VARIABLE,) if name in os.environ}
    return child_environment(num_threads) | kept


def _forget_oldest(failures: Path) -> None:
    ages: dict[Path, float] = {}
    for path in failures.iterdir():
        # A step beside this one may succeed meanwhile, and takes its own away.
        with contextlib.suppress(FileNotFoundError):
            ages[path] = path.stat().st_mtime
    folders = [path for path in ages if not path.name.startswith(".")]
    for folder in sorted(folders, key=lambda path: ages[path])[:-_MAX_FAILURES]:
        shutil.rmtree(folder, ignore_errors=True)
