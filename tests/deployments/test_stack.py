"""The local stack, as a user has it: real servers, a real worker, real signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import psutil

from deployments.stack.processes import members

MAX_MEMORY_BYTES = 1.5 * 2**30


def pt_pipeline(
    *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deployments", *arguments],
        env={**os.environ, "COLUMNS": "200", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_status_says_that_all_of_a_running_stack_is_up(stack):
    asked = pt_pipeline("status", "--home", str(stack.home), "--json")

    found = json.loads(asked.stdout)
    assert asked.returncode == 0, asked.stdout
    assert [service["name"] for service in found["services"]] == ["prefect", "mlflow", "worker", "webhook"]
    assert all(service["is_up"] for service in found["services"])


def test_the_whole_stack_takes_less_than_one_and_a_half_gibibytes(stack):
    taken = sum(
        process.memory_full_info().pss
        for process in (*members(stack.state.token), psutil.Process(stack.process.pid))
    )

    assert 0.2 * 2**30 < taken < MAX_MEMORY_BYTES
