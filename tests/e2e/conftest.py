"""Real runs of the installed command, shared by the tests of the whole line."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

COMMAND = Path(sys.executable).with_name("pt-pipeline")


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    def variant(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(v for v in self.document["variants"] if v["name"] == name)
        return found


@dataclass(frozen=True)
class Workplace:
    """A home folder and the command that works in it."""

    home: Path

    def call(self, *arguments: str, cwd: Path | None = None) -> Finished:
        done = subprocess.run(
            [str(COMMAND), *arguments],
            capture_output=True,
            text=True,
            timeout=900,
            cwd=cwd or self.home.parent,
            env={**os.environ, "PT_PIPELINE_HOME": str(self.home)},
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def run(self, *arguments: str) -> Finished:
        return self.call("run", "--json", *arguments)

    def task_states(self, flow_run_id: str) -> dict[str, str]:
        """Return task run name -> state name of one flow run, read from Prefect's own database."""
        query = (
            "select task_run.name, task_run.state_name from task_run "
            "join flow_run on task_run.flow_run_id = flow_run.id where flow_run.id = ? "
            "order by task_run.created"
        )
        return dict(self._select(query, flow_run_id))

    def flow_state(self, flow_run_id: str) -> str:
        return str(self._select("select state_name from flow_run where id = ?", flow_run_id)[0][0])

    def prefect_artifacts(self) -> list[tuple[Any, ...]]:
        return self._select('select key, type from artifact where ? = ""', "")

    def _select(self, query: str, value: str) -> Sequence[Any]:
        with sqlite3.connect(self.home / "prefect" / "prefect.db") as database:
            return database.execute(query, (value,)).fetchall()


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("line") / "home")


@pytest.fixture(scope="session")
def command() -> Path:
    """The installed console script."""
    return COMMAND


@pytest.fixture(scope="session")
def first(workplace: Workplace) -> Finished:
    """The default job in a fresh home folder."""
    return workplace.run()
