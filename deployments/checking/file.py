"""Check a whole file of deployments: every problem as one line, with its place and its line number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow

from deployments.checking.entrypoints import load_flow
from deployments.checking.heartbeats import heartbeat_problems
from deployments.checking.parameters import missing, parameter_problems
from deployments.checking.problem import Path as Place
from deployments.checking.problem import Problem
from deployments.checking.retraining import ENTRYPOINT, retraining_problems
from deployments.checking.schedules import schedule_problems
from deployments.checking.shape import PROCESS_POOL, deployment_problems, file_problems
from deployments.checking.steps import action_problems
from deployments.checking.templates import is_template, step_ids, template_problems
from deployments.checking.triggers import trigger_problems
from flows.load import read_tree
from pt_core.errors import ConfigError
from pt_core.record import Record


class Located(Record):
    """A problem as it is told."""

    line: int
    """Line in the file, from 1; that of the nearest thing that is there."""
    where: str
    """Its place, a deployment by its name."""
    problem: str
    """What is wrong, and what to do."""


def check_file(path: Path) -> tuple[Located, ...]:
    """Return everything that is wrong with a file of deployments, in the order of its lines.

    Raises:
        ConfigError: it cannot be read, is no YAML mapping of unique keys, or has no end.
    """
    tree = read_tree(path)
    try:
        lines = _lines(yaml.compose(path.read_text(), Loader=yaml.SafeLoader))
        found = dict.fromkeys((one.path, one.text) for one in problems_in(tree, path.parent))
    except RecursionError as error:
        raise ConfigError(
            f"{path}: an anchor that holds itself, or nested too deeply; write it out"
        ) from error
    located = [
        Located(line=_line(lines, place), where=_where(tree, place), problem=text) for place, text in found
    ]
    return tuple(sorted(located, key=lambda one: one.line))


def problems_in(tree: dict[str, Any], folder: Path = Path()) -> Iterator[Problem]:
    """Yield everything that is wrong with the content of a file of deployments in a folder; some of it twice."""
    yield from file_problems(tree)
    yield from action_problems((), tree)
    outside = {key: value for key, value in tree.items() if key != "deployments"}
    yield from template_problems((), outside, step_ids(tree))
    deployments = tree.get("deployments")
    seen: dict[tuple[str, str], int] = {}
    for index, deployment in enumerate(deployments if isinstance(deployments, list) else ()):
        place = ("deployments", index)
        if not isinstance(deployment, dict):
            yield Problem(path=place, text=f"expected a mapping, found {type(deployment).__name__}")
            continue
        flow = load_flow((*place, "entrypoint"), deployment.get("entrypoint"))
        yield from _deployment(place, deployment, flow, step_ids(tree, deployment))
        if deployment.get("entrypoint") == ENTRYPOINT:
            yield from _retraining(
                place, deployment, folder, is_pulled=bool({**tree, **deployment}.get("pull"))
            )
        name = (
            flow.name if isinstance(flow, Flow) else str(deployment.get("entrypoint")),
            str(deployment.get("name")),
        )
        if name in seen:
            text = (
                f"{'/'.join(name)} is deployed twice, and the second takes the place of the first; rename one"
            )
            yield Problem(path=(*place, "name"), text=text)
        seen[name] = index


def _deployment(
    place: Place, deployment: dict[str, Any], loaded: Flow[..., Any] | Problem, outputs: frozenset[str]
) -> Iterator[Problem]:
    flow = loaded if isinstance(loaded, Flow) else None
    pool = deployment.get("work_pool")
    is_process = isinstance(pool, dict) and pool.get("name") == PROCESS_POOL
    yield from deployment_problems(place, deployment)
    yield from heartbeat_problems(place, deployment)
    yield from action_problems(place, deployment)
    yield from template_problems(place, deployment, outputs)
    yield from schedule_problems((*place, "schedules"), deployment.get("schedules"))
    yield from trigger_problems((*place, "triggers"), deployment.get("triggers"), flow, is_process=is_process)
    if flow is not None:
        yield from _all_parameters(place, deployment, flow)
    elif isinstance(loaded, Problem) and deployment.get("entrypoint"):
        yield loaded


def _all_parameters(place: Place, deployment: dict[str, Any], flow: Flow[..., Any]) -> Iterator[Problem]:
    """Yield what is wrong with the parameters, and what is missing where a run starts without a person."""
    given = deployment.get("parameters") or {}
    yield from _apart_from_templates((*place, "parameters"), given, flow)
    schedules = deployment.get("schedules")
    for index, schedule in enumerate(schedules if isinstance(schedules, list) else ()):
        if not isinstance(schedule, dict):
            continue
        at, own = (*place, "schedules", index, "parameters"), schedule.get("parameters") or {}
        yield from _apart_from_templates(at, own, flow)
        if isinstance(given, dict) and isinstance(own, dict):
            lacks = missing(flow, given, own)
            if lacks:
                text = (
                    f"flow {flow.name} needs {', '.join(lacks)}, and a scheduled run asks nobody; say it here"
                )
                yield Problem(path=at, text=text)


def _retraining(
    place: Place, deployment: dict[str, Any], folder: Path, *, is_pulled: bool
) -> Iterator[Problem]:
    """Yield what our own flow would refuse, of parameters that fit its form."""
    flow = load_flow(place, ENTRYPOINT)
    schedules = deployment.get("schedules")
    listed = schedules if isinstance(schedules, list) else []
    held = {place: deployment} | {(*place, "schedules", i): one for i, one in enumerate(listed)}
    given = deployment.get("parameters") or {}
    for at, holder in held.items():
        own = (holder.get("parameters") or {}) if isinstance(holder, dict) else {}
        if not (isinstance(flow, Flow) and isinstance(given, dict) and isinstance(own, dict)):
            continue
        every = {**given, **own}
        path = (*at, "parameters")
        if own and not any(_apart_from_templates(path, every, flow)):
            yield from retraining_problems(path, every, folder, is_pulled=is_pulled)


def _apart_from_templates(path: Place, given: object, flow: Flow[..., Any]) -> Iterator[Problem]:
    if isinstance(given, dict):
        given = {key: value for key, value in given.items() if not is_template(value)}
    yield from parameter_problems(path, given, flow)


def _lines(node: yaml.Node | None, path: Place = ()) -> dict[Place, int]:
    """Return the line of everything in a YAML document, by its path."""
    if node is None:
        return {}
    found = {path: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            found |= _lines(value, (*path, key.value)) | {(*path, key.value): key.start_mark.line + 1}
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found |= _lines(value, (*path, index))
    return found


def _line(lines: dict[Place, int], place: Place) -> int:
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _where(tree: dict[str, Any], place: Place) -> str:
    """Return a place as people write it, with a deployment's name for its position."""
    rest = place
    text = ""
    if len(place) > 1 and place[0] == "deployments" and isinstance(place[1], int):
        deployment = tree["deployments"][place[1]]
        name = deployment.get("name") if isinstance(deployment, dict) else None
        text, rest = str(name or f"deployments[{place[1]}]"), place[2:]
    for part in rest:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "the file"
