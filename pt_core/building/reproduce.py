"""The command line of every ``reproduce.py``: run one recorded step alone, under a debugger or as it was run."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import tempfile
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import TypeVar, cast, get_type_hints

from pt_core.building.build import STEP_TARGET, build_step
from pt_core.building.failure import Failure
from pt_core.building.requests import StepRequest
from pt_core.errors import PtCoreError
from pt_core.isolation import Runner, call, isolated, use_code_path
from pt_core.limits import exact_session_memory_bytes, gibibytes
from pt_core.record import Record

_HELP = """Run a failed step alone, on the sources it read, into a folder that is removed afterwards.

By default it runs in this process, so that "python -m pdb reproduce.py" stops where it fails; there is
no time limit then. With --isolated it runs as it did in the pipeline: in fresh processes, within its
limits of time and memory.

Beside this script: request.json (what it was asked), error.json (how it failed), output.log (the end of
what it printed). Exit code: 0 if it does not fail this time, 1 if it raises, else the signal it dies of."""

R = TypeVar("R", bound=Record)


def main(folder: Path, arguments: list[str]) -> int:
    """Run the step recorded in ``folder`` and print what happens; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="reproduce.py", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isolated", action="store_true", help="in fresh processes, within its limits")
    in_process = not parser.parse_args(arguments).isolated
    failure = Failure.from_json((folder / "error.json").read_bytes())
    where = f"this process ({os.getpid()})" if in_process else "fresh processes"
    print(f"{failure.name} failed: {failure.error}: {failure.message}")
    print(f"running {failure.target} again, in {where}", flush=True)
    with tempfile.TemporaryDirectory(prefix="reproduce-") as store:
        try:
            result = repeat(
                failure, (folder / "request.json").read_text(), Path(store), in_process=in_process
            )
        except PtCoreError as error:
            if in_process:
                raise
            print(f"it failed: {type(error).__name__}: {error}")
            return 1
    print(f"it did not fail this time: {result.to_json()[:2000]}")
    return 0


def repeat(failure: Failure, request: str, store: Path, *, in_process: bool) -> Record:
    """Run a recorded step with ``store`` in the place of its own.

    Raises:
        PtCoreError: isolated, whatever went wrong; in this process the step's own errors come as they are.
    """
    use_code_path()
    if in_process:
        faulthandler.enable()
        _watch_memory(failure.limits.max_memory_bytes)
    runner: Runner = (
        _here if in_process else isolated(failure.limits, writes_to=store, num_threads=failure.num_threads)
    )
    target = getattr(import_module(failure.target.partition(":")[0]), failure.target.partition(":")[2])
    types = get_type_hints(target)
    asked = types["request"].model_validate_json(request)
    if "store" in types["request"].model_fields:
        asked = asked.model_copy(update={"store": str(store)})
    if failure.target == STEP_TARGET:
        # The folder that its first half wrote is gone, so both halves run again.
        return build_step(cast(StepRequest, asked), runner)
    return cast(Record, runner(failure.target, asked, reply=types["return"]))


def _here(target: str, request: Record, *, reply: type[R]) -> R:
    result = call(target, request.to_json())
    assert isinstance(result, reply)
    return result


def _watch_memory(limit: int | None) -> None:
    """Kill this process above its limit, before it takes the machine's memory from everyone else."""
    if limit is None:
        return

    def watch() -> None:
        while (taken := exact_session_memory_bytes({os.getpid(): True})) <= limit:
            time.sleep(0.1)
        print(f"it took {gibibytes(taken)} of memory, its limit is {gibibytes(limit)}: killed", flush=True)
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
