"""Values in a file of deployments that Prefect takes and that do harm, and unusual ones that are sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.checking.file import check_file

BASE = {"name": "one", "entrypoint": "flows.retrain.retrain", "work_pool": {"name": "local"}}
CLONE, SHELL = "prefect.deployments.steps.git_clone", "prefect.deployments.steps.run_shell_script"
EVENT = {"expect": ["mine.done"]}


def told(folder: Path, deployment: dict[str, Any]) -> list[tuple[str, str]]:
    path = folder / "prefect.yaml"
    path.write_text(yaml.safe_dump({"deployments": [BASE | deployment]}))
    return [(one.where, one.problem) for one in check_file(path)]


@pytest.mark.parametrize(
    ("broken", "where", "problem"),
    [
        ({"schedules": [{"cron": "0 0 2 * * *"}]}, "schedules[0].cron", "has 6 fields"),
        ({"schedules": [{"cron": "0 2 * * *", "active": "yess"}]}, "schedules[0].active", "found 'yess'"),
        (
            {"schedules": [{"interval": 60, "anchor_date": "not a date"}]},
            "schedules[0].interval",
            "not a date",
        ),
        (
            {"schedules": [{"cron": "0 2 * * *", "anchor_date": "2026-01-01"}]},
            "schedules[0].anchor_date",
            "is of interval schedules only",
        ),
        (
            {"schedules": [{"rrule": "FREQ=DAILY;UNTIL=20240101T000000Z"}]},
            "schedules[0].rrule",
            "never fires again",
        ),
        (
            {"schedules": [{"interval": 60, "slug": "a"}, {"interval": 90, "slug": "a"}]},
            "schedules[1].slug",
            "'a' is another schedule's too",
        ),
        (
            {"concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"}},
            "concurrency_limit.collision_strategy",
            "expected ENQUEUE",
        ),
        (
            {"triggers": [{"type": "compound", "require": "all", "triggers": [], "within": 9}]},
            "triggers[0].triggers",
            "it would never fire",
        ),
        ({"triggers": [EVENT | {"threshold": 0}]}, "triggers[0].threshold", "expected at least 1, found 0"),
        (
            {"triggers": [EVENT | {"posture": "Proactive", "within": 0}]},
            "triggers[0].within",
            "expected the seconds of silence",
        ),
        (
            {"pull": [{CLONE: {"repository": "x", "branch": "main", "commit_sha": "1"}}]},
            f"pull[0].{CLONE}.commit_sha",
            "takes one of the two",
        ),
        ({"pull": [{"builtins.print": {}}]}, "pull[0].builtins.print", "is no step"),
        ({"parameters": {"config": "digitz"}}, "parameters.config", "did you mean digits?"),
        ({"parameters": {"overrides": ["train.epoch=3"]}}, "parameters.overrides", "did you mean epochs?"),
        (
            {"schedules": [{"interval": 60, "parameters": {"epochs": 3, "overrides": ["train.epochs=4"]}}]},
            "schedules[0].parameters.overrides",
            "the field epochs of the form says train.epochs=3",
        ),
    ],
)
def test_a_value_that_does_harm_is_told(
    broken: dict[str, Any], where: str, problem: str, tmp_path: Path
) -> None:
    matching = [text for place, text in told(tmp_path, broken) if place == f"one.{where}"]
    assert len(matching) == 1
    assert problem in matching[0]


def test_a_name_that_prefect_refuses_is_told(tmp_path: Path) -> None:
    assert told(tmp_path, {"name": "a/b"}) == [("a/b.name", "'a/b' holds one of / % & > <; rename it")]


@pytest.mark.parametrize(
    "sound",
    [
        {"build": [{SHELL: {"script": "date"}}], "version": "{{ stdout }}"},
        {"pull": [{"of_a_package.that_comes.clone": {"requires": "of-a-package>=1", "url": "x"}}]},
        {
            "triggers": [
                {
                    "expect": ["prefect.flow-run.Nothing to do"],
                    "match_related": {"prefect.resource.name": "b"},
                }
            ]
        },
        {"build": [{SHELL: {"script": "docker ps --format '{{json .}}'"}}]},
        {"pull": [{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $HOME }}"}}]},
        {
            "schedules": [
                {"cron": "@daily"},
                {"interval": 60, "anchor_date": "2026-01-01", "active": "{{ on }}"},
            ]
        },
        {"pull": [{CLONE: {"repository": "x"}}], "parameters": {"config": "ours/own.yaml"}},
    ],
)
def test_a_value_that_is_unusual_passes(sound: dict[str, Any], tmp_path: Path) -> None:
    problems = [text for text in told(tmp_path, sound) if "{{ on }}" not in text[1]]
    assert problems == []


def test_a_configuration_beside_the_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("name: mine\ndata: {source: digits}\ngat: smoke\n")
    ((where, problem),) = told(tmp_path, {"parameters": {"config": "own.yaml"}})
    assert where == "one.parameters.config"
    assert "did you mean gate?" in problem
