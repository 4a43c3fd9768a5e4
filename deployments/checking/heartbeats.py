"""The heartbeat of a deployment: rarer than the automation waits, its runs would be crashed while they live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deployments.checking.problem import Path, Problem
from deployments.checking.templates import is_template
from deployments.heartbeat import HEARTBEAT_S, HEARTBEAT_VARIABLE, SILENCE_S
from flows.flow_states import TAG

_PLACE = ("work_pool", "job_variables", "env", HEARTBEAT_VARIABLE)


def heartbeat_problems(path: Path, deployment: Mapping[str, object]) -> Iterator[Problem]:
    """Yield why the runs of a deployment with the product's tag would be taken for dead; others are not watched.

    Args:
        path: where the deployment stands.
        deployment: its content.
    """
    tags = deployment.get("tags")
    if TAG not in (tags if isinstance(tags, list) else [tags]):
        return
    found: object = deployment
    for key in _PLACE:
        # What a template stands for is not known from the file.
        found = found.get(key) if isinstance(found, Mapping) else found if is_template(found) else None
    if is_template(found) or str(found) == str(HEARTBEAT_S):
        return
    observed = "missing" if found is None else f"found {found!r}"
    text = (
        f'{observed}, expected "{HEARTBEAT_S}", the least that Prefect takes: a run with the tag {TAG} is crashed after '
        f"{SILENCE_S} s without a heartbeat, and Prefect's own is one in 180 s"
    )
    yield Problem(path=(*path, *_PLACE), text=text)
