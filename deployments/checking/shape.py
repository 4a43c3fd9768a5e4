"""The keys and the kinds of values that Prefect's own models of a file of deployments have."""

from __future__ import annotations

from collections.abc import Iterator

from prefect.cli.deploy._models import (
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    WorkPoolConfig,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.types import BANNED_CHARACTERS
from prefect.workers.process import ProcessVariables
from pydantic import BaseModel, ValidationError

from deployments.checking.problem import Path, Problem, of_validation, unknown

PROCESS_POOL = "local"
"""The work pool that `pt-pipeline up` makes, of type process; what other pools take is not known from the file."""
_ANCHORS = "definitions"
"""A key that Prefect's documentation keeps for anchors, which other keys then refer to."""
_ELSEWHERE = ("schedules", "triggers", "build", "push", "pull", "sla", "concurrency_limit", "work_pool")
"""Keys of a deployment whose values are checked on their own."""


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys that a model reads, by the names they have in a file."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def file_problems(tree: dict[str, object]) -> Iterator[Problem]:
    """Yield what is wrong at the top of the file."""
    known = {*keys_of(PrefectYamlModel), _ANCHORS}
    yield from (unknown((key,), known) for key in tree if key not in known)
    if not isinstance(tree.get("deployments"), list) or not tree["deployments"]:
        yield Problem(path=("deployments",), text="missing or empty, expected a list of deployments")
    rest = {
        key: value for key, value in tree.items() if key in known - {"deployments", "build", "push", "pull"}
    }
    yield from _typed((), rest, PrefectYamlModel)


def deployment_problems(path: Path, deployment: dict[str, object]) -> Iterator[Problem]:
    """Yield what is wrong with one deployment's own keys, its work pool and its limit."""
    known = keys_of(DeploymentConfig)
    yield from (unknown((*path, key), known) for key in deployment if key not in known)
    for key in ("name", "entrypoint", "work_pool"):
        if deployment.get(key) in (None, ""):
            yield Problem(path=(*path, key), text="missing; Prefect skips or refuses a deployment without it")
    name = deployment.get("name")
    if isinstance(name, str) and any(letter in name for letter in BANNED_CHARACTERS):
        yield Problem(
            path=(*path, "name"), text=f"{name!r} holds one of {' '.join(BANNED_CHARACTERS)}; rename it"
        )
    if "schedule" in deployment:
        yield Problem(path=(*path, "schedule"), text="deprecated; expected schedules, a list")
    rest = {key: value for key, value in deployment.items() if key not in _ELSEWHERE}
    yield from _typed(path, rest, DeploymentConfig)
    yield from _pool_problems((*path, "work_pool"), deployment.get("work_pool"))
    limit = deployment.get("concurrency_limit")
    yield from _limit_problems((*path, "concurrency_limit"), limit)
    if isinstance(limit, dict) and limit.get("collision_strategy") == "CANCEL_NEW":
        text = "CANCEL_NEW drops every run that comes while another is at work; expected ENQUEUE"
        yield Problem(path=(*path, "concurrency_limit", "collision_strategy"), text=text)


def variable_problems(path: Path, variables: object) -> Iterator[Problem]:
    """Yield what is wrong with job variables of the process pool, which takes no others than its template has."""
    if not isinstance(variables, dict):
        yield Problem(path=path, text=f"expected a mapping, found {type(variables).__name__}")
        return
    known = keys_of(ProcessVariables)
    yield from (unknown((*path, key), known, what="job variable") for key in variables if key not in known)
    yield from _typed(path, {k: v for k, v in variables.items() if k in known}, ProcessVariables)


def _pool_problems(path: Path, pool: object) -> Iterator[Problem]:
    if pool is None:
        return
    if not isinstance(pool, dict):
        yield Problem(path=path, text=f"expected a mapping with a name, found {type(pool).__name__}")
        return
    known = keys_of(WorkPoolConfig)
    yield from (unknown((*path, key), known) for key in pool if key not in known)
    if not pool.get("name"):
        yield Problem(path=(*path, "name"), text="missing; Prefect cannot deploy without a work pool")
    yield from _typed(path, {key: value for key, value in pool.items() if key in known}, WorkPoolConfig)
    if pool.get("name") == PROCESS_POOL and pool.get("job_variables") is not None:
        yield from variable_problems((*path, "job_variables"), pool["job_variables"])


def _limit_problems(path: Path, limit: object) -> Iterator[Problem]:
    if limit is None:
        return
    if isinstance(limit, int) and not isinstance(limit, bool):
        limit = {"limit": limit, "collision_strategy": "ENQUEUE"}
    if not isinstance(limit, dict):
        yield Problem(path=path, text=f"expected a number or a mapping, found {type(limit).__name__}")
        return
    known = keys_of(ConcurrencyLimitSpec)
    yield from (unknown((*path, key), known) for key in limit if key not in known)
    for key in ("limit", "collision_strategy"):
        if limit.get(key) is None:
            yield Problem(path=(*path, key), text="missing; without it Prefect refuses or ignores the limit")
    if isinstance(limit.get("limit"), int) and limit["limit"] < 1:
        yield Problem(path=(*path, "limit"), text=f"expected at least 1, found {limit['limit']}")
    given = {key: value for key, value in limit.items() if key in known and value is not None}
    if "limit" in given:
        yield from _typed(path, given, ConcurrencyLimitConfig)


def _typed(path: Path, values: dict[str, object], model: type[BaseModel]) -> Iterator[Problem]:
    try:
        model.model_validate(values)
    except ValidationError as error:
        yield from of_validation(path, error)
