"""A deployment with the product's tag says often enough that its runs live, or the automation would crash them alive."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.checking.file import check_file

ROOT = Path(__file__).parents[2]
BASE = {"name": "one", "entrypoint": "flows.retrain.retrain", "tags": ["pt-pipeline", "mine"]}
WHERE = "one.work_pool.job_variables.env.PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
NOTHING = object()


def told(folder: Path, deployment: dict[str, Any]) -> list[tuple[str, str]]:
    path = folder / "prefect.yaml"
    path.write_text(yaml.safe_dump({"deployments": [BASE | deployment]}))
    return [(one.where, one.problem.partition(",")[0]) for one in check_file(path)]


def pool(every_s: object, *, name: str = "local") -> dict[str, Any]:
    if every_s is NOTHING:
        return {"work_pool": {"name": name}}
    env = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": every_s}
    return {"work_pool": {"name": name, "job_variables": {"env": env}}}


@pytest.mark.parametrize("name", ["local", "of-another-type"])
@pytest.mark.parametrize(
    ("every_s", "observed"),
    # Prefect ends a run at once that is told less than 30.
    [(NOTHING, "missing"), (None, "missing"), ("", "found ''"), ("180", "found '180'"), ("29", "found '29'")],
)
def test_a_deployment_whose_runs_would_be_crashed_alive_is_told(
    name: str, every_s: object, observed: str, tmp_path: Path
) -> None:
    assert told(tmp_path, pool(every_s, name=name)) == [(WHERE, observed)]


@pytest.mark.parametrize(
    "sound",
    [
        pool("30"),
        pool("{{ prefect.variables.heartbeat }}"),
        pool(NOTHING) | {"tags": ["mine"]},
        pool(NOTHING) | {"tags": None},
    ],
)
def test_one_that_says_it_and_one_that_is_not_watched_pass(sound: dict[str, Any], tmp_path: Path) -> None:
    assert told(tmp_path, sound) == []


def test_what_the_manual_adds_to_our_own_file_passes(tmp_path: Path) -> None:
    manual = (ROOT / "docs" / "operations.md").read_text()
    (example,) = re.findall(r"```\n(  - name: .*?)```", manual, flags=re.DOTALL)
    path = tmp_path / "prefect.yaml"
    path.write_text((ROOT / "prefect.yaml").read_text().rstrip() + "\n\n" + example)
    assert len(yaml.safe_load(path.read_text())["deployments"]) == 9
    assert check_file(path) == ()
