"""One real stack for all tests of this folder that need it: ``pt-pipeline up`` on free ports in a home of its own."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import chromium
import pytest
from prefect_pages import ask
from stacks import RealStack, start_up, stop_up, wait_until_ready

from deployments.stack.processes import members
from flows.stack_state import client_environment, running_stack

TOLD_OF_THE_LOG = 8000
"""Characters from the end of a server's log that stand beside a failure."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure what the server of the test said last: a machine of CI is gone afterwards."""
    report = yield
    if report.failed:
        used = getattr(item, "funcargs", {})
        for log in {getattr(used.get("stack"), "log", None), used.get("log")}:
            if isinstance(log, Path) and log.exists():
                report.sections.append(
                    (f"end of {log.name}", log.read_text(errors="replace")[-TOLD_OF_THE_LOG:])
                )
    return report


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    folder = tmp_path_factory.mktemp("stack")
    home = folder / "home"
    process = start_up(home, folder / "up.log")
    try:
        state = wait_until_ready(process, home, folder / "up.log")
        yield RealStack(
            home=home,
            environment={
                **os.environ,
                **client_environment(state, home),
                "PT_PIPELINE_HOME": str(home),
                "PREFECT_HOME": str(home / "prefect"),
                "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
            },
            prefect_url=state.prefect_url,
            mlflow_url=state.mlflow_url,
            webhook_url=state.webhook_url or "",
            process=process,
            log=folder / "up.log",
            deployed=tuple(one["name"] for one in ask(state.prefect_url, "deployments/filter", {})),
        )
    finally:
        state = running_stack(home)
        assert stop_up(process) == 0, "it was not stopped in order"
        assert state is not None, "it had ended before it was stopped"
        assert not list(members(state.token)), "a process of the stack is still there"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    with chromium.running(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver
