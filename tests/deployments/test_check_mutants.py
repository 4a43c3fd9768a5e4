"""Whatever stands in a file of deployments in place of a value, or of a key, is a problem or none: never a traceback."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.checking.file import check_file, problems_in
from pt_core.errors import ConfigError

SHIPPED = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())
EVENT = {
    "type": "event",
    "expect": ["prefect.flow-run.Failed"],
    "after": ["mine.done"],
    "match": {"prefect.resource.id": "prefect.flow-run.0f"},
    "match_related": [{"prefect.resource.name": "another"}],
    "for_each": ["prefect.resource.id"],
    "posture": "Proactive",
    "threshold": 1,
    "within": 30,
}
METRIC = {"name": "lateness", "threshold": 5, "operator": ">", "range": 300, "firing_for": 300}
SCHEDULED = {
    "name": "scheduled",
    "entrypoint": "flows.retrain.retrain",
    "version": "1",
    "parameters": {"config": "digits", "overrides": ["train.epochs=3"]},
    "build": [{"prefect.deployments.steps.run_shell_script": {"id": "built", "script": "date"}}],
    "schedules": [
        {"interval": 60, "anchor_date": "2026-01-01", "active": True, "slug": "a"},
        {"cron": "5 * * * *", "day_or": True, "parameters": {"force": True}},
        {"rrule": "FREQ=DAILY"},
    ],
    "concurrency_limit": 2,
    "work_pool": {"name": "local"},
}
TRIGGERED = {
    "name": "triggered",
    "entrypoint": "flows.maintenance.maintenance",
    "triggers": [
        {**EVENT, "name": "x", "enabled": True, "parameters": {"keep_last": "{{ event.id }}"}},
        {"type": "metric", "metric": METRIC, "match": EVENT["match"], "job_variables": {"env": {"A": "1"}}},
        {"type": "compound", "require": "all", "within": 9, "triggers": [EVENT]},
        {
            "type": "sequence",
            "within": 9,
            "triggers": [{"type": "compound", "require": 1, "triggers": [EVENT]}],
        },
    ],
    "work_pool": {"name": "local"},
}
"""What Prefect takes and our own file does without."""
TOP = {key: value for key, value in SHIPPED.items() if key != "deployments"}
TREES = {one["name"]: TOP | {"deployments": [one]} for one in (*SHIPPED["deployments"], SCHEDULED, TRIGGERED)}
"""One deployment each, as the others would only be read again for every mutant."""

Place = tuple[Any, ...]
Change = Callable[[Any, Any], None]


def places(node: object, place: Place = ()) -> Iterator[Place]:
    """Yield the place of every node below one."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*place, key)
        yield from places(value, (*place, key))


def put(value: object) -> Change:
    def change(holder: Any, key: Any) -> None:
        holder[key] = copy.deepcopy(value)

    return change


def without_its_key(holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[None] = holder.pop(key)


def raised(tree: dict[str, Any], change: Change) -> list[tuple[Place, str]]:
    """Return the places that cannot be changed so without an error of the checker's own."""
    found = []
    for place in places(tree):
        mutant = copy.deepcopy(tree)
        holder: Any = mutant
        for key in place[:-1]:
            holder = holder[key]
        change(holder, place[-1])
        try:
            tuple(problems_in(mutant))
        except Exception as error:
            found.append((place, f"{type(error).__name__}: {error}"))
    return found


def test_the_mutants_are_of_trees_without_a_problem() -> None:
    assert {name: tuple(problems_in(tree)) for name, tree in TREES.items()} == dict.fromkeys(TREES, ())
    assert sum(len([*places(tree)]) for tree in TREES.values()) > 250


@pytest.mark.parametrize(
    "value",
    ["x", [], *(pytest.param(one, marks=pytest.mark.campaign) for one in (5, {}, None, True))],
    ids=repr,
)
@pytest.mark.parametrize("name", TREES)
def test_a_value_in_place_of_any_other_is_no_traceback(name: str, value: object) -> None:
    assert raised(TREES[name], put(value)) == []


@pytest.mark.parametrize("name", TREES)
def test_no_key_at_all_is_no_traceback(name: str) -> None:
    assert raised(TREES[name], without_its_key) == []


@pytest.mark.parametrize(
    ("broken", "where", "problem"),
    [
        ({"triggers": [EVENT | {"within": "30s"}]}, "triggers[0].within", "seconds, found '30s'"),
        ({"triggers": [EVENT | {"within": 10**30}]}, "triggers[0].within", "seconds, found 1000"),
        (
            {"triggers": [{"type": "sequence", "triggers": [EVENT | {"within": "30s"}]}]},
            "triggers[0].triggers[0].within",
            "seconds, found '30s'",
        ),
        ({"triggers": [{"type": []}]}, "triggers[0].type", "[]; expected one of event, metric"),
        ({"triggers": [{"type": {}}]}, "triggers[0].type", "{}; expected one of event, metric"),
        ({"triggers": 5}, "triggers", "expected a list, found int"),
        (
            {"triggers": [{"type": "sequence", "triggers": 5}]},
            "triggers[0].triggers",
            "Input should be a valid list, found 5",
        ),
        ({"schedules": [{"interval": 60, "slug": ["a"]}]}, "schedules[0].slug", "should be a valid string"),
        ({"schedules": [{"rrule": "DTSTART:20260101"}]}, "schedules[0].rrule", "holds no rule"),
        ({"pull": [{"functools.partial": {}}]}, "pull[0].functools.partial", "is no step"),
        ({"pull": [{"prefect.flow": {"x": 1}}]}, "pull[0].prefect.flow.x", "unknown input"),
        ({None: 1}, "None", "unknown key"),
    ],
)
def test_a_value_of_another_kind_is_told_at_its_place(
    broken: dict[str, Any], where: str, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "prefect.yaml"
    path.write_text(yaml.safe_dump({"deployments": [{**TRIGGERED, **broken}]}))
    (text,) = [one.problem for one in check_file(path) if one.where == f"triggered.{where}"]
    assert problem in text


def test_an_anchor_that_holds_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prefect.yaml").write_text("deployments: &all [*all]\n")
    with pytest.raises(ConfigError, match="an anchor that holds itself"):
        check_file(tmp_path / "prefect.yaml")
