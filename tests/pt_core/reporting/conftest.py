"""The run that every reporting test draws."""

from __future__ import annotations

import pytest
from run_results import make_run_result

from pt_core.decision.result import RunResult


@pytest.fixture(scope="session")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return make_run_result(tmp_path_factory.mktemp("home"))
