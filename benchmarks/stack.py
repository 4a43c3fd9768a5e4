"""The local stack: how long until it is ready and gone, and what it takes, process by process.

    .venv/bin/python benchmarks/stack.py [--repeat 3]

Each turn starts ``pt-pipeline up`` in a fresh home folder on free ports: databases are made, deployments applied. Memory
is the proportional set size of every process of the stack, so that pages which several share count once, 10 s after it
was ready. It prints a table and one JSON line, and fails where a turn takes 40 s or 1.5 GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from deployments.stack.processes import members
from flows.stack_state import StackState, running_stack

MAX_READY_S = 40
MAX_MEMORY_BYTES = 1.5 * 2**30
PATIENCE_S = 300
SETTLED_S = 10


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(home: Path) -> subprocess.Popen[bytes]:
    """Start the stack in a home folder."""
    ports = [f"--{name}-port={free_port()}" for name in ("prefect", "mlflow", "webhook")]
    command = [sys.executable, "-m", "deployments", "up", "--home", str(home), *ports]
    with (home / "up.log").open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def wait_until_ready(process: subprocess.Popen[bytes], home: Path) -> StackState:
    """Return the state of the stack once all of it answers."""
    end = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < end:
        state = running_stack(home)
        if state is not None and state.is_ready:
            return state
        time.sleep(0.1)
    raise SystemExit(f"the stack did not get ready:\n{(home / 'up.log').read_text()}")


def memory(state: StackState) -> dict[str, int]:
    """Return the bytes that each service takes, with all that it started, and the supervisor with its watcher."""
    taken: dict[str, int] = {}
    for service in state.services:
        root = psutil.Process(service.process.pid)
        taken[service.name] = sum(
            one.memory_full_info().pss for one in (root, *root.children(recursive=True))
        )
    own = psutil.Process(state.supervisor.pid)
    watchers = [child for child in own.children() if "deployments.stack.watcher" in child.cmdline()]
    taken["up and its watcher"] = sum(one.memory_full_info().pss for one in (own, *watchers))
    return taken


def turn() -> dict[str, object]:
    """Start the stack once, measure it, and stop it."""
    with tempfile.TemporaryDirectory(prefix="pt-stack-") as folder:
        home = Path(folder)
        began = time.monotonic()
        process = start(home)
        try:
            state = wait_until_ready(process, home)
            ready_s = time.monotonic() - began
            time.sleep(SETTLED_S)
            taken = memory(state)
        finally:
            asked = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)
        stopped_s = time.monotonic() - asked
        left = len(list(members(state.token)))
        return {"ready_s": ready_s, "stopped_s": stopped_s, "memory_bytes": taken, "processes_left": left}


def main() -> None:
    """Measure, print, and fail where a promise is not kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3)
    turns = [turn() for _ in range(parser.parse_args().repeat)]
    ready = sorted(float(str(one["ready_s"])) for one in turns)
    stopped = sorted(float(str(one["stopped_s"])) for one in turns)
    memories = [one["memory_bytes"] for one in turns]
    totals = sorted(sum(one.values()) for one in memories if isinstance(one, dict))
    last = memories[-1]
    assert isinstance(last, dict)
    for name, taken in last.items():
        print(f"{name:<20} {taken / 2**20:7.0f} MiB")
    print(f"{'all':<20} {totals[-1] / 2**20:7.0f} MiB, the most of {len(turns)} turns")
    print(
        f"ready in             {ready[0]:7.1f} to {ready[-1]:.1f} s, stopped in {stopped[0]:.1f} to {stopped[-1]:.1f} s"
    )
    print(f"load of the machine  {os.getloadavg()[0]:7.1f} on {os.cpu_count()} cores")
    kept = ready[-1] < MAX_READY_S and totals[-1] < MAX_MEMORY_BYTES
    kept = kept and all(one["processes_left"] == 0 for one in turns)
    print(json.dumps({"benchmark": "stack", "kept": kept, "load": os.getloadavg()[0], "turns": turns}))
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
