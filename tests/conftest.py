"""What every test shares: no telemetry, no settings of the developer's own, quiet native threads."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator

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


@pytest.hookimpl(tryfirst=True)  # before the hook of pytest-xdist that reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file on one worker, and those that share the real runs together; the longest go first."""
    for item in items:
        shares_runs = {"first", "workplace"} & set(getattr(item, "fixturenames", ()))
        name = "real runs" if shares_runs else str(item.path.relative_to(item.config.rootpath))
        item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=lambda item: _TURN.get(item.get_closest_marker("xdist_group").args[0], len(_TURN)))


class _Listener(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


@pytest.fixture
def hear() -> Iterator[Callable[[str], list[str]]]:
    """A function from a logger's name to the messages it gives from then on.

    Not caplog: Prefect, MLflow and others, once imported by any test of the process, decide what a logger lets through.
    """
    with contextlib.ExitStack() as restored:
        restored.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.NOTSET)

        def listen(name: str) -> list[str]:
            logger, listener = logging.getLogger(name), _Listener()
            restored.callback(setattr, logger, "disabled", logger.disabled)
            restored.callback(logger.setLevel, logger.level)
            restored.callback(logger.removeHandler, listener)
            logger.disabled = False
            logger.setLevel(logging.INFO)
            logger.addHandler(listener)
            return listener.told

        yield listen
