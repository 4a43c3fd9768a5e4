"""Run one function from a record to a record in a fresh process, and come back with its reply or a typed error."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Literal, TypeVar

from pydantic import ValidationError

from pt_core.errors import PtCoreError, StepFailed, error_from_dict
from pt_core.record import Record

CODE_PATH_VARIABLE = "PT_PIPELINE_CODE_PATH"
"""Folders with the user's own modules, appended (never prepended) to a child's ``sys.path``."""

_PROGRESS_VARIABLE = "PT_CORE_PROGRESS_FD"
_TAIL_LINES = 30
_TAIL_BYTES = 2**16
_MAX_MESSAGE = 500

_children: set[subprocess.Popen[bytes]] = set()

R = TypeVar("R", bound=Record)


class Progress(Record):
    """One step forward of long work in a child process."""

    done: int
    """Units finished so far."""
    total: int
    """Units in all."""
    message: str = ""
    """What a person reads beside the bar."""


def report_progress(done: int, total: int, message: str = "") -> None:
    """Tell the parent process how far the work is; does nothing when nobody listens."""
    descriptor, _, listener_of = os.environ.get(_PROGRESS_VARIABLE, "").partition(":")
    # A process that this one started inherits the variable but not the pipe: the number may be any file there.
    if listener_of != str(os.getpid()):
        return
    line = Progress(done=done, total=total, message=message[:_MAX_MESSAGE]).to_json() + "\n"
    # Progress nobody reads any more is no reason to fail the work.
    with contextlib.suppress(OSError):
        os.write(int(descriptor), line.encode())


def run_isolated(
    target: str,
    request: Record,
    *,
    reply: type[R],
    timeout_s: float,
    num_threads: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> R:
    """Run ``target`` ("module:function", a function from record to record) in a fresh process.

    Args:
        target: import path of the function; its only argument is the request.
        request: sent as JSON; the child reads its type from the function's annotation.
        reply: the type of the function's result.
        timeout_s: seconds after which the child is killed.
        num_threads: cores the child may use for numerical work; ``None`` means all.
        on_progress: called in a thread of this process for each :func:`report_progress`.

    Raises:
        PtCoreError: the typed error that the function raised.
        StepFailed: the child crashed, was killed, ran out of time, or raised anything else.
    """
    with tempfile.TemporaryDirectory(prefix="pt-isolated-") as scratch:
        folder = Path(scratch)
        (folder / "request.json").write_text(request.to_json())
        with (folder / "output.log").open("wb") as log:
            returncode = _run_child(
                [sys.executable, "-P", "-X", "faulthandler", "-m", "pt_core.isolation", target, scratch],
                log=log,
                environment=_child_environment(num_threads),
                timeout_s=timeout_s,
                on_progress=on_progress,
            )
        answer = folder / "reply.json"
        tail = _tail(folder / "output.log")
        if returncode is None:
            raise StepFailed(f"{target}: no result after {timeout_s:g} s, killed", details=tail)
        if not answer.exists():
            raise StepFailed(f"{target}: {_describe_exit(returncode)}", details=tail)
        content = json.loads(answer.read_text())
        if "error" in content:
            raise error_from_dict(content["error"])
        try:
            return reply.model_validate(content["reply"])
        except ValidationError as error:
            raise StepFailed(
                f"{target}: replied no {reply.__name__}: {error}"[:2000], details=tail
            ) from error


def _child_environment(num_threads: int | None) -> dict[str, str]:
    environment = {**os.environ, "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "PYTHONUNBUFFERED": "1"}
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
    on_progress: Callable[[Progress], None] | None,
) -> int | None:
    """Return the exit code, or ``None`` when the child was killed at its time limit."""
    read_end, write_end = os.pipe()
    # The child leads its own session, so that killing its group takes grandchildren (compilers) too,
    # and its stdin is a pipe that we hold open: when we die, even by SIGKILL, it sees the end and exits.
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**environment, _PROGRESS_VARIABLE: str(write_end)},
        pass_fds=(write_end,),
        start_new_session=True,
    )
    os.close(write_end)
    _children.add(child)
    listener = threading.Thread(target=_listen, args=(read_end, on_progress), daemon=True)
    listener.start()
    try:
        return child.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _children.discard(child)
        _kill_group(child)
        listener.join(timeout=5)


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


def _describe_exit(returncode: int) -> str:
    if returncode < 0:
        known = {member.value: member.name for member in signal.Signals}
        hint = ", perhaps for want of memory" if returncode == -signal.SIGKILL else ""
        return f"the process was killed by {known.get(-returncode, f'signal {-returncode}')}{hint}"
    return f"the process exited with code {returncode} and no result"


def _tail(log: Path) -> list[str]:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return stream.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]


def _main(target: str, scratch: str) -> int:
    """Entry point of the child process."""
    watcher = _start_watcher()
    if _PROGRESS_VARIABLE in os.environ:
        os.environ[_PROGRESS_VARIABLE] += f":{os.getpid()}"
    folder = Path(scratch)
    answer: dict[Literal["reply", "error"], object]
    try:
        result = _call(target, (folder / "request.json").read_text())
        answer = {"reply": result.model_dump(mode="json")}
    except PtCoreError as error:
        answer = {"error": error.to_dict()}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary where any failure becomes a recorded one
        traceback.print_exc()
        tail = traceback.format_exc().splitlines()[-_TAIL_LINES:]
        failure = StepFailed(f"{target}: {type(error).__name__}: {error}"[:2000], details=tail)
        answer = {"error": failure.to_dict()}
    partial = folder / "reply.partial"
    partial.write_text(json.dumps(answer))
    partial.rename(folder / "reply.json")
    sys.stdout.flush()
    sys.stderr.flush()
    # Reaped here, because process 1 of a container may reap nobody.
    os.kill(watcher, signal.SIGKILL)
    os.waitpid(watcher, 0)
    # Native thread pools of the runtimes may hang in their destructors; the reply is already on disk.
    os._exit(0)


def _call(target: str, request: str) -> Record:
    sys.path.extend(filter(None, os.environ.get(CODE_PATH_VARIABLE, "").split(os.pathsep)))
    module_name, _, function_name = target.partition(":")
    function = getattr(importlib.import_module(module_name), function_name)
    request_type = importlib.import_module("typing").get_type_hints(function)["request"]
    result = function(request_type.model_validate_json(request))
    assert isinstance(result, Record)
    return result


def _start_watcher() -> int:
    """Fork a watcher that kills this process and all it started when the parent is gone; return its id.

    A process, because a thread would not run while native code holds the interpreter's lock.
    """
    watcher = os.fork()
    if watcher == 0:
        while os.read(0, 1):
            pass
        os.killpg(0, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return watcher


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
