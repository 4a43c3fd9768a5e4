"""How a deployed flow ends that failed: told of once, and with a sentence in place of a traceback where it has one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from flows.flow_run import prefect_link, run_name
from flows.notices import tell_failed
from pt_core.errors import GateRefused, PtCoreError

T = TypeVar("T")

_ENGINE_LOGGERS = ("prefect.flow_runs", "prefect.engine")
"""Where Prefect's engine says how a flow run failed: on the run's page, and in the worker's log."""


def ending(work: Callable[[], T]) -> T | State[Any]:
    """Do the work of a flow run; return what it gave, or how the run ends that failed for a reason with a name.

    Raises:
        Exception: a defect, which Prefect shows with its traceback.
    """
    try:
        return work()
    except GateRefused as error:
        # It has an event of its own, which gives the reason of each variant; a person who said no knows.
        return _failed(error)
    except PtCoreError as error:
        _tell(error)
        return _failed(error)
    except Exception as error:
        _tell(error)
        raise


def _tell(error: Exception) -> None:
    # Before a run is open in MLflow it has no pipeline's name yet, and a promotion or a score never has.
    tell_failed(str(flow_run.flow_name), run_name(), error, prefect_link())


def _failed(error: PtCoreError) -> State[Any]:
    """Return the state whose message is the error's sentence, which is one line of the log as well."""
    get_run_logger().error("%s", error)
    for name in _ENGINE_LOGGERS:
        logging.getLogger(name).addFilter(_not_said_again)
    return Failed(message=str(error), data=error)


def _not_said_again(record: logging.LogRecord) -> bool:
    """Keep Prefect's engine, which raises what a flow returned as failed, from adding the traceback of its own calls."""
    return not (record.exc_info and isinstance(record.exc_info[1], PtCoreError))
