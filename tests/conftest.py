"""What every test shares: no telemetry, no settings of the developer's own, quiet native threads."""

from __future__ import annotations

import os

import pytest

for name in [n for n in os.environ if n.startswith(("PREFECT_", "MLFLOW_", "PT_PIPELINE_"))]:
    if name != "PT_PIPELINE_SCREENSHOTS":
        del os.environ[name]
os.environ["DO_NOT_TRACK"] = "true"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"

# What takes longest is dealt out first, so that no worker ends long after the other.
_TURN = {"real runs": 0, "tests/contract/test_steps.py": 1, "tests/faults/test_failing_steps.py": 2}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file on one worker, and those that share the real runs together; the longest go first."""
    for item in items:
        shares_runs = {"first", "workplace"} & set(getattr(item, "fixturenames", ()))
        name = "real runs" if shares_runs else str(item.path.relative_to(item.config.rootpath))
        item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=lambda item: _TURN.get(item.get_closest_marker("xdist_group").args[0], len(_TURN)))
