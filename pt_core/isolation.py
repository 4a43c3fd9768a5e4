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

from pt_core.errors import PtCoreError, StepFailed, error_from_dict
from pt_core.record import Record

CODE_PATH_VARIABLE = "PT_PIPELINE_CODE_PATH"
"""Folders with the user's own modules, appended (never prepended) to a child's ``sys.path``."""

_PROGRESS_VARIABLE = "PT_CORE_PROGRESS_FD"
_TAIL_LINES = 30

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
    descriptor = os.environ.get(_PROGRESS_VARIABLE)
    if descriptor:
        line = Progress(done=done, total=total, message=message).to_json() + "\n"
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
                [sys.executable, "-P", "-m", "pt_core.isolation", target, scratch],
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
        return reply.model_validate(content["reply"])


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
    # and holds the read end of our stdin pipe: when we die, even by SIGKILL, it sees the end and exits.
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
    listener = threading.Thread(target=_listen, args=(read_end, on_progress), daemon=True)
    listener.start()
    try:
        return child.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _kill_group(child)
        listener.join(timeout=5)


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
        return f"the process was killed by {signal.Signals(-returncode).name}"
    return f"the process exited with code {returncode} and no result"


def _tail(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]


def _main(target: str, scratch: str) -> int:
    """Entry point of the child process."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    folder = Path(scratch)
    answer: dict[Literal["reply", "error"], object]
    try:
        result = _call(target, (folder / "request.json").read_text())
        answer = {"reply": result.model_dump(mode="json")}
    except PtCoreError as error:
        answer = {"error": error.to_dict()}
    except Exception as error:  # noqa: BLE001 - the boundary where any failure becomes a recorded one
        traceback.print_exc()
        tail = traceback.format_exc().splitlines()[-_TAIL_LINES:]
        failure = StepFailed(f"{target}: {type(error).__name__}: {error}"[:2000], details=tail)
        answer = {"error": failure.to_dict()}
    partial = folder / "reply.partial"
    partial.write_text(json.dumps(answer))
    partial.rename(folder / "reply.json")
    sys.stdout.flush()
    sys.stderr.flush()
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


def _exit_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
