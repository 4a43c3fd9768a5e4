"""Run one function from a record to a record in a fresh process, and come back with its reply or a typed error."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, NamedTuple, Protocol, TypeVar

from pydantic import ValidationError

from pt_core.child import (
    CODE_PATH_VARIABLE,
    PROGRESS_VARIABLE,
    Progress,
    call,
    report_progress,
    use_code_path,
)
from pt_core.disk import FULL, full_disk
from pt_core.errors import OutOfMemory, PtCoreError, StepFailed, error_from_dict
from pt_core.limits import Limits, exact_session_memory_bytes, gibibytes, session_memory_bytes
from pt_core.record import Record

__all__ = [
    "CODE_PATH_VARIABLE",
    "Progress",
    "Runner",
    "call",
    "child_environment",
    "isolated",
    "over_memory",
    "report_progress",
    "run_isolated",
    "stop_all",
    "use_code_path",
]

_TAIL_LINES = 30
_TAIL_BYTES = 2**16
_POLL_S = 0.1
_MORE = "limits.step_{0} in the configuration allows more (limits.train_{0} for the training)"


class Stopped(NamedTuple):
    """Why a child was killed."""

    why: str
    """One clause."""
    error: type[StepFailed]
    """The failure that it is."""


_children: set[subprocess.Popen[bytes]] = set()

R = TypeVar("R", bound=Record)


def run_isolated(
    target: str,
    request: Record,
    *,
    reply: type[R],
    timeout_s: float,
    max_memory_bytes: int | None = None,
    num_threads: int | None = None,
    writes_to: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    environment: Mapping[str, str] | None = None,
    more: str = _MORE,
) -> R:
    """Run ``target`` ("module:function", a function from record to record) in a fresh process.

    Args:
        target: import path of the function; its only argument is the request.
        request: sent as JSON; the child reads its type from the function's annotation.
        reply: the type of the function's result.
        timeout_s: seconds after which the child is killed.
        max_memory_bytes: resident memory of the child and all it starts, above which they are killed; watched
            ten times a second, since a limit of address space would stop torch, which reserves much and uses little.
        num_threads: cores the child may use for numerical work; ``None`` means all.
        writes_to: the folder that the function writes into, so that its disk is named when it is full.
        on_progress: called in a thread of this process for each :func:`report_progress`.
        environment: what the child's environment has besides; ``None`` is nothing.
        more: what a person does to allow more, with {0} for ``timeout_s`` or ``memory_gib``.

    Raises:
        PtCoreError: the typed error that the function raised; its ``output`` is the end of the child's output.
        StepFailed: the child crashed, was killed, ran out of time, memory or disk, or raised anything else.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="pt-isolated-") as scratch:
            folder = Path(scratch)
            (folder / "request.json").write_text(request.to_json())
            with (folder / "output.log").open("wb") as log:
                ended = _run_child(
                    [sys.executable, "-P", "-X", "faulthandler", "-m", "pt_core.child", target, scratch],
                    log=log,
                    environment={**os.environ, **(environment or {}), **child_environment(num_threads)},
                    timeout_s=timeout_s,
                    max_memory_bytes=max_memory_bytes,
                    on_progress=on_progress,
                    more=more,
                )
            return _read_answer(folder, target, ended, reply)
    except StepFailed as error:
        full = full_disk("\n".join([error.message, *error.details]), _written(writes_to))
        if full is None:
            raise
        raise error.with_message(f"{error.message}: {full}") from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StepFailed(f"{target}: {error}: {full_disk(str(error), _written(writes_to))}") from error


class Runner(Protocol):
    """Runs "module:function" on a request, in this process or in another."""

    def __call__(self, target: str, request: Record, *, reply: type[R]) -> R:
        """Return the function's reply."""
        ...


def isolated(
    limits: Limits,
    *,
    writes_to: Path,
    num_threads: int | None,
    on_progress: Callable[[Progress], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Runner:
    """Return :func:`run_isolated` with its limits set."""

    def run(target: str, request: Record, *, reply: type[R]) -> R:
        return run_isolated(
            target,
            request,
            reply=reply,
            timeout_s=limits.timeout_s,
            max_memory_bytes=limits.max_memory_bytes,
            num_threads=num_threads,
            writes_to=writes_to,
            on_progress=on_progress,
            environment=environment,
        )

    return run


def child_environment(num_threads: int | None) -> dict[str, str]:
    """Return what a child's environment has besides this process's."""
    environment = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "PYTHONUNBUFFERED": "1"}
    if num_threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[name] = str(num_threads)
    return environment


def _run_child(
    command: list[str],
    *,
    log: IO[bytes],
    environment: Mapping[str, str],
    timeout_s: float,
    max_memory_bytes: int | None,
    on_progress: Callable[[Progress], None] | None,
    more: str,
) -> int | Stopped:
    """Return the exit code, or why the child was killed."""
    read_end, write_end = os.pipe()
    # The child leads its own session, so that killing its group takes grandchildren (compilers) too,
    # and its stdin is a pipe that we hold open: when we die, even by SIGKILL, it sees the end and exits.
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**environment, PROGRESS_VARIABLE: str(write_end)},
        pass_fds=(write_end,),
        start_new_session=True,
    )
    os.close(write_end)
    _children.add(child)
    listener = threading.Thread(target=_listen, args=(read_end, on_progress), daemon=True)
    listener.start()
    try:
        return _wait(child, timeout_s, max_memory_bytes, more)
    finally:
        _children.discard(child)
        _kill_group(child)
        listener.join(timeout=5)


def _wait(
    child: subprocess.Popen[bytes], timeout_s: float, max_memory_bytes: int | None, more: str
) -> int | Stopped:
    """Return the exit code of a child, or which limit it is over."""
    deadline = time.monotonic() + timeout_s
    known: dict[int, bool] = {}
    while True:
        left_s = deadline - time.monotonic()
        try:
            return child.wait(timeout=max(left_s if max_memory_bytes is None else min(left_s, _POLL_S), 0))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                why = f"no result after {timeout_s:g} s, killed; {more.format('timeout_s')}"
                return Stopped(why, StepFailed)
        taken = over_memory(child.pid, max_memory_bytes, known) if max_memory_bytes else None
        if taken and max_memory_bytes:
            limit = gibibytes(max_memory_bytes)
            why = f"took {gibibytes(taken)} of memory, the limit is {limit}, killed"
            return Stopped(f"{why}; {more.format('memory_gib')}", OutOfMemory)


def over_memory(leader: int, limit: int, known: dict[int, bool]) -> int | None:
    """Return what a session takes if that is above a limit; ``known`` is kept from call to call."""
    # The sum counts what forked processes share once for each: only when it is too high is it worth being exact.
    if (session_memory_bytes(leader, known) or 0) <= limit:
        return None
    taken = exact_session_memory_bytes(known)
    return taken if taken > limit else None


def stop_all() -> None:
    """Kill every child at work; the calls that wait for them end with :class:`StepFailed`.

    For an interrupted parent: the threads that wait for a child do not see its signal.
    """
    for child in tuple(_children):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdin:
        child.stdin.close()


def _listen(descriptor: int, on_progress: Callable[[Progress], None] | None) -> None:
    with os.fdopen(descriptor, "rb") as lines:
        for line in lines:
            if on_progress:
                on_progress(Progress.from_json(line))


def _read_answer(folder: Path, target: str, ended: int | Stopped, reply: type[R]) -> R:
    output = _tail(folder / "output.log")
    try:
        return _parse_answer(folder / "reply.json", target, ended, reply, output.splitlines()[-_TAIL_LINES:])
    except PtCoreError as error:
        error.output = output
        raise


def _parse_answer(answer: Path, target: str, ended: int | Stopped, reply: type[R], tail: list[str]) -> R:
    if isinstance(ended, Stopped):
        raise ended.error(f"{target}: {ended.why}", details=tail)
    if not answer.exists():
        raise StepFailed(f"{target}: {_describe_exit(ended)}", details=tail)
    content = json.loads(answer.read_text())
    if "error" in content:
        raise error_from_dict(content["error"])
    try:
        return reply.model_validate(content["reply"])
    except ValidationError as error:
        raise StepFailed(f"{target}: replied no {reply.__name__}: {error}"[:2000], details=tail) from error


def _written(folder: Path | None) -> list[Path]:
    return [Path(tempfile.gettempdir()), *([folder] if folder else [])]


def _describe_exit(returncode: int) -> str:
    if returncode < 0:
        known = {member.value: member.name for member in signal.Signals}
        hint = ", perhaps for want of memory" if returncode == -signal.SIGKILL else ""
        return f"the process was killed by {known.get(-returncode, f'signal {-returncode}')}{hint}"
    return f"the process exited with code {returncode} and no result"


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return stream.read().decode(errors="replace")
