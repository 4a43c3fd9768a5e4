"""The child's side of an isolated run: read the request, call the function, write its reply, die with the parent."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from pt_core.errors import OutOfMemory, PtCoreError, StepFailed
from pt_core.record import Record

CODE_PATH_VARIABLE = "PT_PIPELINE_CODE_PATH"
"""Folders with the user's own modules, appended (never prepended) to a child's ``sys.path``."""

PROGRESS_VARIABLE = "PT_CORE_PROGRESS_FD"
SCRATCH_VARIABLE = "PT_CORE_SCRATCH"
"""Folder that the parent removes however the child ends."""
_MAX_DETAILS = 30
_MAX_MESSAGE = 500
_NO_MEMORY = (
    "can't allocate memory",
    "Cannot allocate memory",
    "out of memory",
    "bad_alloc",
    "Failed to allocate",
)
"""How the system, torch, CUDA, C++ and ONNX Runtime say what Python says by a MemoryError."""


class Progress(Record):
    """One step forward of long work in a child process."""

    done: int
    """Units finished so far."""
    total: int
    """Units in all."""
    message: str = ""
    """What a person reads beside the bar."""
    step: int | None = None
    """Number of the unit that the figures are of; ``None`` where there are none."""
    figures: dict[str, float] = Field(default_factory=dict)
    """Finite figures to be kept of that unit, by name, e.g. the losses of an epoch."""


def report_progress(
    done: int,
    total: int,
    message: str = "",
    *,
    step: int | None = None,
    figures: Mapping[str, float] | None = None,
) -> None:
    """Tell the parent process how far the work is; does nothing when nobody listens."""
    descriptor, _, listener_of = os.environ.get(PROGRESS_VARIABLE, "").partition(":")
    # A process that this one started inherits the variable but not the pipe: the number may be any file there.
    if listener_of != str(os.getpid()):
        return
    said = Progress(
        done=done, total=total, message=message[:_MAX_MESSAGE], step=step, figures=dict(figures or {})
    )
    line = said.to_json() + "\n"
    # Progress nobody reads any more is no reason to fail the work.
    with contextlib.suppress(OSError):
        os.write(int(descriptor), line.encode())


def use_code_path() -> None:
    """Let this process import the user's own modules, after all others."""
    for folder in os.environ.get(CODE_PATH_VARIABLE, "").split(os.pathsep):
        if folder and folder not in sys.path:
            sys.path.append(folder)


def call(target: str, request: str) -> Record:
    """Run ``target`` ("module:function") on a request, given as JSON, in this process."""
    use_code_path()
    module_name, _, function_name = target.partition(":")
    function = getattr(importlib.import_module(module_name), function_name)
    request_type = importlib.import_module("typing").get_type_hints(function)["request"]
    result = function(request_type.model_validate_json(request))
    assert isinstance(result, Record)
    return result


def _main(target: str, scratch: str) -> int:
    """Entry point of the child process."""
    watcher = _start_watcher()
    _be_the_first_to_go()
    if PROGRESS_VARIABLE in os.environ:
        os.environ[PROGRESS_VARIABLE] += f":{os.getpid()}"
    os.environ[SCRATCH_VARIABLE] = scratch
    folder = Path(scratch)
    answer: dict[Literal["reply", "error"], object]
    try:
        result = call(target, (folder / "request.json").read_text())
        answer = {"reply": result.model_dump(mode="json")}
    except PtCoreError as error:
        answer = {"error": error.to_dict()}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary where any failure becomes a recorded one
        traceback.print_exc()
        tail = traceback.format_exc().splitlines()[-_MAX_DETAILS:]
        kind = OutOfMemory if is_out_of_memory(error) else StepFailed
        failure = kind(f"{target}: {_describe_error(error)}"[:2000], details=tail)
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


def _describe_error(error: BaseException) -> str:
    said = f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        return f"out of memory, this machine refused what it asked for: {said}"
    return said


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the system or a library said by this error that there is no more memory."""
    return isinstance(error, MemoryError) or any(words in f"{error}" for words in _NO_MEMORY)


def _be_the_first_to_go() -> None:
    """Ask the kernel, should it run out of memory, to kill this process before the one that waits for it."""
    with contextlib.suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/oom_score_adj").write_text("500")


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
