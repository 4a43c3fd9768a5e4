"""When a task's record may be taken from an earlier run: same code, same libraries, same content, same bytes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from prefect import Task
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.results import ResultRecord  # type: ignore[attr-defined]
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.artifacts.guard import vouch, vouch_for_checkpoint
from pt_core.bundle import Bundle, is_intact
from pt_core.environment import core_code_digest, runtime_identity
from pt_core.errors import IntegrityError
from pt_core.keys import trust_here
from pt_core.limits import Limits
from pt_core.record import Record
from tasks.progress import show_cached

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)


def cache_key(context: TaskRunContext, parameters: Mapping[str, Any]) -> str:
    """Return the cache key of a task, from its ``request`` parameter alone; see :func:`key_of`."""
    return key_of(context.task.name, parameters["request"])


def key_of(task_name: str, request: Record) -> str:
    """Return the key under which the record for a request is kept.

    Prefect's INPUTS policy would share records between different tasks with equal inputs, and
    TASK_SOURCE ignores helper functions; so the key names the task, the sources of ``pt_core``, the
    interpreter, libraries and instruction sets, and the content of the request.
    """
    parts = (core_code_digest(), runtime_identity(), request.content_digest())
    return f"{task_name}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()}"


def lookup(task_name: str, request: Record, *, reply: type[R]) -> R | None:
    """Return the record that a task would take from Prefect's local cache, or ``None`` if it would run.

    Reads the file that Prefect keeps, so that asking starts no server.
    """
    path = Path(PREFECT_LOCAL_STORAGE_PATH.value()) / key_of(task_name, request)
    try:
        record: object = ResultRecord.deserialize(path.read_bytes()).result
    except (ValueError, OSError, KeyError):
        return None
    return record if isinstance(record, reply) and intact(record) and vouched(record) else None


def intact(record: Record) -> bool:
    """Return whether the bytes a record speaks of are still there and match."""
    return not isinstance(record, Bundle) or is_intact(Path(record.directory), record.digest)


def vouched(record: Record) -> bool:
    """Return whether a record from the cache may be used: what runs code only if a trusted key signed its bytes.

    Records lie in a cache and bytes in a store, and whoever could write both could plant a program in the next run;
    the signature is by a key that lies in neither.
    """
    try:
        if isinstance(record, Artifact):
            vouch(record, trust_here())
        elif isinstance(record, Checkpoint):
            vouch_for_checkpoint(record, trust_here())
    except IntegrityError:
        return False
    return True


def settle(task: Task[..., R], request: Record, limits: Limits, future: PrefectFuture[R], *rest: object) -> R:
    """Wait for a task and return its record; if it came from the cache and cannot be used any more, rebuild it.

    Args:
        task: the task.
        request: what it was asked.
        limits: what it may take.
        future: its answer to come.
        rest: what else it was given, and is given again.

    Raises:
        PtCoreError: what the task raised.
    """
    record: R = future.result()
    is_cached = future.state.name == "Cached"
    # What was built just now needs no signature: this run made it.
    if intact(record) and (not is_cached or vouched(record)):
        if is_cached:
            show_cached(str(task.task_run_name).format(request=request))
        return record
    logger.warning("%s: the cached bytes are gone, damaged or not signed, building again", task.name)
    rebuilt: R = task.with_options(refresh_cache=True).submit(request, limits, *rest).result()
    return rebuilt


def run(task: Task[..., R], request: Record, limits: Limits, *rest: object) -> R:
    """Submit one cached task, wait for it, and return its record with its bytes checked.

    Args:
        task: the task.
        request: what it is asked, which alone decides what it returns.
        limits: what it may take.
        rest: what else it is given, e.g. where to log.

    Raises:
        PtCoreError: what the task raised.
    """
    return settle(task, request, limits, task.submit(request, limits, *rest), *rest)
