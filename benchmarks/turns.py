"""Subjects of a benchmark as processes that stay for a few turns, so that each has many and close to the others'.

A fresh process for each measurement would spend more time importing than measuring, and what a subject is compared with
would lie minutes away; on a machine shared with others that is longer than its speed stays the same. One process for
all turns would show what its memory happens to look like: two of the same subject differ by several per cent for as
long as they live.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from rich.console import Console
from rich.progress import Progress as Bar

from pt_core.child import PROGRESS_VARIABLE, Progress
from pt_core.modeling.allocation import allocation_environment
from tasks import tracking
from tasks.follow import followed


class Subject(NamedTuple):
    """What is measured."""

    name: str
    """What trains."""
    precision: str
    """In what precision."""
    is_ours: bool
    """Whether it is surrounded as the flow surrounds it: its process allocates so, and its epochs go to MLflow."""


class Process:
    """One subject, ready for a turn."""

    def __init__(self, subject: Subject, command: list[str], log: Path) -> None:
        self.subject = subject
        self._log = log
        read_end, self._write_end = os.pipe()
        self._lines = os.fdopen(read_end, "rb")
        flows = {PROGRESS_VARIABLE: str(self._write_end), **allocation_environment(False)}
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **(flows if subject.is_ours else {})},
                pass_fds=(self._write_end,) if subject.is_ours else (),
            )
        self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write_end)
        self._lines.close()

    def turn(self) -> dict[str, float]:
        """Let it train once; return what it measured."""
        with self._logged():
            assert self._process.stdin
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
            return self._read()

    def _read(self) -> dict[str, float]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.subject.name}, {self.subject.precision}: {self._log.read_text()[-2000:]}")
        answer: dict[str, float] = json.loads(line)
        return answer

    @contextlib.contextmanager
    def _logged(self) -> Iterator[None]:
        if not self.subject.is_ours:
            yield
            return
        with tempfile.TemporaryDirectory() as folder:
            uri = f"sqlite:///{folder}/mlflow.db"
            run = tracking.start_run(uri, experiment="speed", run_name="one", artifact_root=folder, tags={})
            with followed(run) as log:
                listener = threading.Thread(target=self._listen, args=(log,))
                listener.start()
                try:
                    yield
                finally:
                    # All that the subject told is in the pipe before it answers, and this comes after it.
                    os.write(self._write_end, b"\n")
                    listener.join()

    def _listen(self, log: Callable[[Progress], None]) -> None:
        while line := self._lines.readline().strip():
            log(Progress.from_json(line))


def serve(turn: Callable[[], dict[str, float]]) -> None:
    """Say that the process is ready; then take a turn for every line that comes in."""
    print("{}", flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn()), flush=True)


def take_turns(
    subjects: dict[Subject, list[str]], *, rounds: int, rounds_per_process: int, title: str
) -> list[dict[str, Any]]:
    """Give every subject one turn per round, in another order each time; return what each turn measured.

    Args:
        subjects: each with the command that starts its process, which calls :func:`serve`.
        rounds: turns of each.
        rounds_per_process: after how many turns a fresh process takes its place.
        title: of the progress bar.
    """
    found: list[dict[str, Any]] = []
    with Bar(console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=rounds * len(subjects))
        for first in range(0, rounds, rounds_per_process):
            numbers = range(first, min(first + rounds_per_process, rounds))
            for one in _rounds(subjects, numbers):
                found.append(one)
                bar.advance(task)
                # A run of an hour that is cut off has said what it measured so far.
                named = f"{title}, round {one['round'] + 1}: {one['subject']}, {one['precision']}"
                bar.console.print(f"{named}: {one['seconds']:.2f} s", highlight=False)
    return found


def _rounds(subjects: dict[Subject, list[str]], numbers: range) -> Iterator[dict[str, Any]]:
    """Give every subject its turns of some rounds, in one process; yield what each measured."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ready = [
            stack.enter_context(Process(subject, command, folder / f"{number}.log"))
            for number, (subject, command) in enumerate(subjects.items())
        ]
        for number in numbers:
            for one in _shuffled(ready, number):
                fields = {"round": number, "subject": one.subject.name, "precision": one.subject.precision}
                yield {**fields, **one.turn()}


def _shuffled(ready: list[Process], seed: int) -> list[Process]:
    """Return the order of a round: those in FP32 in a row, and those in less: they are compared most."""
    random_ = random.Random(seed)  # the order of measurements, nothing secret
    blocks = ["fp32", "mixed"]
    random_.shuffle(blocks)
    shuffled = random_.sample(ready, len(ready))
    return sorted(
        shuffled, key=lambda one: blocks.index("fp32" if one.subject.precision == "fp32" else "mixed")
    )
