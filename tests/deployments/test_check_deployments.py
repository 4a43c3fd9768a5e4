"""What Prefect ignores in a file of deployments, each shown by a broken file; and that no misspelt key of ours passes."""

from __future__ import annotations

import copy
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prefect
import pytest
import typer
import yaml

from deployments.checking.command import check_deployments
from deployments.checking.events import KNOWN
from deployments.checking.file import Located, check_file, problems_in
from pt_core.errors import ConfigError

ROOT = Path(__file__).parents[2]
DEPLOYED = ROOT / "prefect.yaml"

BASE = {"name": "one", "entrypoint": "flows.retrain.retrain", "work_pool": {"name": "local"}}
MATCH = {"prefect.resource.id": "prefect.flow-run.*"}


def checked(folder: Path, tree: dict[str, Any]) -> tuple[Located, ...]:
    path = folder / "prefect.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return check_file(path)


def told(folder: Path, **deployment: object) -> list[tuple[str, str]]:
    found = checked(folder, {"deployments": [BASE | deployment]})
    return [(one.where, one.problem) for one in found]


def test_our_own_file_has_no_problem() -> None:
    assert check_file(DEPLOYED) == ()


def test_a_run_of_ours_that_finds_another_at_work_waits_for_it() -> None:
    deployments = yaml.safe_load(DEPLOYED.read_text())["deployments"]
    assert len(deployments) >= 8
    queued = {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert [one["name"] for one in deployments if one.get("concurrency_limit") != queued] == []


def test_a_package_brings_the_same_file() -> None:
    assert (ROOT / "deployments" / "prefect.yaml").read_bytes() == DEPLOYED.read_bytes()


@pytest.mark.parametrize(
    ("broken", "where", "problem"),
    [
        ({"descripton": "x"}, "one.descripton", "unknown key; did you mean description?"),
        ({"schedule": {"cron": "0 2 * * *"}}, "one.schedule", "deprecated; expected schedules, a list"),
        ({"tags": 3}, "one.tags", "Input should be a valid string, found 3"),
        ({"work_pool": None}, "one.work_pool", "missing; Prefect skips or refuses a deployment without it"),
        ({"work_pool": {"nam": "local"}}, "one.work_pool.nam", "unknown key; did you mean name?"),
        (
            {"work_pool": {"name": "local", "job_variables": {"evn": {}}}},
            "one.work_pool.job_variables.evn",
            "unknown job variable; did you mean env?",
        ),
        (
            {"concurrency_limit": {"limit": 1, "colision_strategy": "ENQUEUE"}},
            "one.concurrency_limit.colision_strategy",
            "unknown key; did you mean collision_strategy?",
        ),
        (
            {"concurrency_limit": {"limit": 1, "collision_strategy": "QUEUE"}},
            "one.concurrency_limit.collision_strategy",
            "Input should be 'ENQUEUE' or 'CANCEL_NEW', found 'QUEUE'",
        ),
        ({"concurrency_limit": 0}, "one.concurrency_limit.limit", "expected at least 1, found 0"),
        (
            {"parameters": {"confg": "digits"}},
            "one.parameters.confg",
            "unknown parameter of flow retrain; did you mean config?",
        ),
        ({"parameters": {"epochs": -1}}, "one.parameters.epochs", "-1 is less than the minimum of 0"),
        ({"parameters": {"config": None}}, "one.parameters.config", "None is not of type 'string'"),
        (
            {"parameters": {"gate": "lenient"}},
            "one.parameters.gate",
            "'lenient' is not one of ['as configured', 'strict', 'balanced', 'smoke']",
        ),
        (
            {"entrypoint": "flows.score.score", "schedules": [{"interval": 60}]},
            "one.schedules[0].parameters",
            "flow score needs model, source, output, and a scheduled run asks nobody; say it here",
        ),
        (
            {"schedules": [{"cron": "0 25 * * *"}]},
            "one.schedules[0].cron",
            'Invalid cron string: "0 25 * * *"',
        ),
        (
            {"schedules": [{"cron": "0 2 30 2 *"}]},
            "one.schedules[0].cron",
            "'0 2 30 2 *' never fires; expected a date that exists",
        ),
        (
            {"schedules": [{"cron": "0 2 * * *", "timezone": "Europe/Berln"}]},
            "one.schedules[0].timezone",
            'Invalid timezone: "Europe/Berln" (specify in IANA tzdata format, for example, America/New_York)',
        ),
        (
            {"schedules": [{"cron": "0 2 * * *", "interval": 60}]},
            "one.schedules[0]",
            "expected exactly one of cron, interval, rrule; found cron and interval",
        ),
        (
            {"schedules": [{"cron": "0 2 * * *", "timzone": "UTC"}]},
            "one.schedules[0].timzone",
            "unknown key; did you mean timezone?",
        ),
        (
            {"triggers": [{"expct": ["prefect.flow-run.Failed"], "match": MATCH}]},
            "one.triggers[0].expct",
            "unknown key; did you mean expect?",
        ),
        (
            {"triggers": [{"expect": [], "match": MATCH}]},
            "one.triggers[0].expect",
            "missing or empty: it would fire on every event; say which",
        ),
        (
            {"triggers": [{"expect": ["prefect.flow-run.Faild"], "match": MATCH}]},
            "one.triggers[0].expect",
            "'prefect.flow-run.Faild': no such event; did you mean prefect.flow-run.Failed?",
        ),
        (
            {"triggers": [{"expect": ["pt-pipline.gate.refused"]}]},
            "one.triggers[0].expect",
            "'pt-pipline.gate.refused': no such event; did you mean pt-pipeline.gate.refused?",
        ),
        (
            {"triggers": [{"expect": ["*"], "match": MATCH}]},
            "one.triggers[0].expect",
            "'*' fires on every event; expected a prefix before the star, such as prefect.flow-run.*",
        ),
        (
            {"triggers": [{"expect": ["prefect.flow-run.Failed"]}]},
            "one.triggers[0].match",
            "missing or empty: it would fire for every resource; say which, such as match_related with "
            "prefect.resource.role: flow and prefect.resource.name: NAME OF ANOTHER FLOW",
        ),
        *(
            (
                {"triggers": [trigger]},
                "one.triggers[0].match",
                "fits every run, also those that it starts itself",
            )
            for trigger in (
                {"expect": ["prefect.flow-run.Completed"], "match": MATCH},
                {"expect": ["prefect.task-run.*"], "match": {"prefect.resource.id": "*"}},
                {"expect": ["prefect.*"], "match": MATCH, "match_related": {"prefect.resource.role": "flow"}},
                {
                    "expect": ["prefect.flow-run.Failed"],
                    "match_related": {"prefect.resource.id": "prefect.flow.*"},
                },
            )
        ),
        (
            {"triggers": [{"expect": ["prefect.flow-run.Failed"], "match": {"prefect.resorce.id": "x"}}]},
            "one.triggers[0].match.prefect.resorce.id",
            "no resource has such a label; did you mean prefect.resource.id?",
        ),
        (
            {"triggers": [{"type": "compound", "require": "any", "triggers": [{"expect": []}], "within": 9}]},
            "one.triggers[0].triggers[0].expect",
            "missing or empty: it would fire on every event; say which",
        ),
        (
            {"triggers": [{"expect": ["mine.done"], "parameters": {"confg": "{{ event.id }}"}}]},
            "one.triggers[0].parameters.confg",
            "unknown parameter of flow retrain; did you mean config?",
        ),
        ({"entrypoint": "flows.retrain.retain"}, "one.entrypoint", "'retain' not found in 'flows.retrain'"),
        (
            {"entrypoint": "flows.retrane.retrain"},
            "one.entrypoint",
            "flows.retrane.retrain: does not import: ModuleNotFoundError: No module named 'flows.retrane'",
        ),
        ({"entrypoint": "flows.retrain.activate"}, "one.entrypoint", "'activate' is not a flow"),
        (
            {"pull": [{"prefect.deployments.steps.gitclone": {"repository": "x"}}]},
            "one.pull[0].prefect.deployments.steps.gitclone",
            "does not import; expected the full name of a function",
        ),
        (
            {"pull": [{"prefect.deployments.steps.git_clone": {"repository": "x", "commit": "1"}}]},
            "one.pull[0].prefect.deployments.steps.git_clone.commit",
            "unknown input; did you mean commit_sha?",
        ),
        (
            {"pull": [{"prefect.deployments.steps.git_clone": {}}]},
            "one.pull[0].prefect.deployments.steps.git_clone.repository",
            "missing, the step cannot run without this input",
        ),
        (
            {"description": "{{ $NO_SUCH_VARIABLE_HERE }}"},
            "one.description",
            "{{ $NO_SUCH_VARIABLE_HERE }}: is not set here, so that the text would stay; set it, or write the value",
        ),
        (
            {"version": "{{ build.tag }}"},
            "one.version",
            "{{ build.tag }}: nothing fills it in; expected $VARIABLE",
        ),
    ],
)
def test_what_prefect_ignores_is_one_line(
    broken: dict[str, Any], where: str, problem: str, tmp_path: Path
) -> None:
    matching = [text for place, text in told(tmp_path, **broken) if place == where]
    assert len(matching) == 1
    assert problem in matching[0]


@pytest.mark.parametrize(
    "sound",
    [
        {"triggers": [{"expect": ["mine.done"], "parameters": {"config": "{{ event.resource.name }}"}}]},
        {"triggers": [{"expect": ["pt-pipeline.gate.refused"], "enabled": "{{ prefect.variables.on }}"}]},
        {
            "triggers": [
                {
                    "expect": ["prefect.flow-run.*"],
                    "match": MATCH,
                    "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": "another"},
                    "for_each": ["prefect.resource.id"],
                }
            ]
        },
        {
            "triggers": [
                {
                    "expect": ["prefect.flow-run.Failed"],
                    "match": {"prefect.resource.id": "prefect.flow-run.0f"},
                }
            ]
        },
        {
            "build": [{"prefect.deployments.steps.run_shell_script": {"id": "b", "script": "x"}}],
            "version": "{{ b.stdout }}",
        },
        {
            "concurrency_limit": 2,
            "schedules": [{"rrule": "FREQ=DAILY"}, {"interval": 60, "timezone": "Europe/Berlin"}],
        },
        {"work_pool": {"name": "of-kubernetes", "job_variables": {"image": "x"}}},
    ],
)
def test_what_is_sound_passes(sound: dict[str, Any], tmp_path: Path) -> None:
    assert told(tmp_path, **sound) == []


def test_two_deployments_of_one_name_are_told(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, {"deployments": [BASE, BASE]})
    assert found.problem.startswith("retrain/one is deployed twice")
    other = {**BASE, "entrypoint": "flows.rollback.rollback"}
    assert checked(tmp_path, {"deployments": [BASE, other]}) == ()


def test_a_variable_that_would_be_frozen_by_deploying_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PT_PIPELINE_PUSH_COMMIT", "1234")
    (found,) = check_file(DEPLOYED)
    assert "commit_sha" in found.where
    assert "its value would be written down for good" in found.problem


def test_a_key_that_is_written_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("deployments: []\ndeployments: []\n")
    with pytest.raises(ConfigError, match=r"f\.yaml:2: not valid YAML: duplicate key 'deployments'"):
        check_file(tmp_path / "f.yaml")


def paths(node: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every key below a node."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        if isinstance(node, dict) and "env" not in path:  # in there a key is the user's own
            yield (*path, key)
        yield from paths(value, (*path, key))


def misspelt(key: str) -> tuple[str, ...]:
    swapped = key[:-2] + key[-1] + key[-2] if key[-1] != key[-2] else key[1] + key[0] + key[2:]
    return key[:-1], f"{key}s", swapped, key.replace("_", "-") if "_" in key else key.capitalize()


def passed(mutants: list[tuple[tuple[Any, ...], str]]) -> list[tuple[Any, ...]]:
    """Return the misspelt keys of our own file in which nothing is found."""
    tree = yaml.safe_load(DEPLOYED.read_text())
    unseen = []
    for place, wrong in mutants:
        mutant = copy.deepcopy(tree)
        node = mutant
        for part in place[:-1]:
            node = node[part]
        node[wrong] = node.pop(place[-1])
        if not any(problems_in(mutant)):
            unseen.append((*place[:-1], wrong))
    return unseen


def all_mutants() -> list[tuple[tuple[Any, ...], str]]:
    tree = yaml.safe_load(DEPLOYED.read_text())
    assert not any(problems_in(tree))
    return [(place, wrong) for place in paths(tree) for wrong in misspelt(place[-1])]


def test_no_misspelt_key_of_ours_passes() -> None:
    mutants = all_mutants()
    assert len(mutants) > 300
    sample = random.Random(6).sample(mutants, 60)
    assert passed(sample) == []


@pytest.mark.campaign
def test_no_misspelt_key_of_ours_passes_whichever_it_is() -> None:
    assert passed(all_mutants()) == []


def test_the_events_of_prefects_own_sources_are_known() -> None:
    sources = Path(prefect.__file__).parent
    text = "\n".join(path.read_text() for path in sources.rglob("*.py") if "_vendor" not in path.parts)
    raised = set(re.findall(r"""event=["'](prefect\.[\w.-]+)["']""", text))
    assert len(raised) > 5
    assert raised - set(KNOWN) == set()


def test_the_command_lists_all_and_leaves_with_two(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("naem: x\ndeployments:\n  - {name: a, entrypont: b.c, work_pool: {name: local}}\n")
    command = [sys.executable, "-m", "deployments", "check-deployments", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        f"{path}:1: naem: unknown key; did you mean name?",
        f"{path}:3: a.entrypont: unknown key; did you mean entrypoint?",
        f"{path}:3: a.entrypoint: missing; Prefect skips or refuses a deployment without it",
        f"{path}: 3 problems",
    ]


def test_a_script_gets_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"naem": "x", "deployments": [BASE]}))
    with pytest.raises(typer.Exit) as left:
        check_deployments(path, as_json=True)
    assert left.value.exit_code == 2
    problem = {"line": 6, "where": "naem", "problem": "unknown key; did you mean name?"}
    assert json.loads(capsys.readouterr().out) == {
        "file": str(path),
        "problems": [problem],
        "exit_code": 2,
    }
