"""What every test shares: no telemetry, no settings of the developer's own, quiet native threads."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

for name in [n for n in os.environ if n.startswith(("PREFECT_", "MLFLOW_", "PT_PIPELINE_"))]:
    if name != "PT_PIPELINE_SCREENSHOTS":
        del os.environ[name]
os.environ["DO_NOT_TRACK"] = "true"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"

_OWN_RUNS = ("test_failing_variants.py", "test_interrupt.py", "test_promotion_approval.py")
"""Files of tests/e2e that start runs in homes of their own; all others there share the real runs of one worker."""

_LONGEST = ("real runs", "real stack", "tests/contract/test_steps.py", "tests/faults/test_failing_steps.py")
"""What is dealt out first, so that no worker ends long after the other."""


def _group(nodeid: str) -> str:
    """Return what stays on one worker: a file, or all the files that share the real runs or the real stack."""
    path = nodeid.partition("::")[0]
    if path.startswith("tests/deployments/") and _uses_stack(path):
        return "real stack"
    return "real runs" if path.startswith("tests/e2e/") and not path.endswith(_OWN_RUNS) else path


@functools.cache
def _uses_stack(path: str) -> bool:
    """Return whether a file has a function that takes the fixture ``stack``; the scheduler sees nothing but node ids."""
    source = Path(__file__).parent.parent / path
    return re.search(r"def \w+\([^)]*\bstack\b", source.read_text()) is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest groups first."""
    items.sort(key=lambda item: [*_LONGEST, _group(item.nodeid)].index(_group(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Deal out whole groups; the groups of pytest-xdist itself are lost on the node ids of pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return ByGroup(config, log) if config.getvalue("dist") == "loadfile" else None


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
