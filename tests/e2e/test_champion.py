"""What is deployed is measured in the run that would replace it, on the same samples, and never a candidate."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pt_core.decision.result import RunResult
from pt_core.keys import keys_of
from pt_core.release.release import make_release
from pt_core.release.requests import ReleaseRequest
from tasks.registering import register, set_alias
from tasks.registry import BUNDLE_DIGEST, CHAMPION, RELEASE_DIGEST, RUN_NAME

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

MODEL, DEPLOYED = "deployed-digits", "onnx-int8-static"

# As the default job, whose training, conversion and evaluation are in the cache, but for the rules and the timing.
CHANGES = (
    f"promotion={{model_name: {MODEL}}}",
    "variants=[{name: torch, steps: []}, {name: onnx, steps: [onnx]}]",
    "efficiency={max_seconds: 4, rounds: 10, extra_rounds: 0, cold_starts: false}",
    "gate.rules=[{metric: accuracy/accuracy, max_drop: 0.05, against: champion}, "
    "{metric: robustness/fgsm_0.05, max_drop: 0.2, against: champion}, "
    "{metric: efficiency/latency_ratio, max_ratio: 100, against: champion}]",
)


@pytest.fixture(scope="module")
def deployed(first: Any, workplace: Any) -> dict[str, Any]:
    """A variant of the default job, registered and in use under a name of its own."""
    assert first.code == 0, first.stderr
    result = RunResult.from_json(
        (workplace.home / "runs" / first.document["run_name"] / "run.json").read_bytes()
    )
    release = make_release(
        ReleaseRequest(
            result=result,
            variant=DEPLOYED,
            store=str(workplace.home / "store"),
            signing_keys=keys_of(workplace.home),
        )
    )
    uri = f"sqlite:///{workplace.home}/mlflow.db"
    version = register(
        uri,
        name=MODEL,
        release=Path(release.directory),
        run_id=str(result.mlflow_run_id),
        tags={
            RELEASE_DIGEST: release.digest,
            BUNDLE_DIGEST: release.artifact.digest,
            RUN_NAME: result.run_name,
            "dataset_digest": result.dataset.digest,
        },
        description="",
    )
    set_alias(uri, version, CHAMPION)
    return {"version": version.version, "release": release.digest, "run": result.run_name}


@pytest.fixture(scope="module")
def run(deployed: Any, workplace: Any) -> Any:
    done = workplace.run(*(part for change in CHANGES for part in ("--set", change)))
    assert done.code == 0, done.stderr
    return done


def test_the_champion_is_measured_like_every_variant_and_is_none(run: Any, deployed: Any, first: Any) -> None:
    champion = run.document["champion"]
    assert (champion["version"], champion["problem"]) == (deployed["version"], None)
    assert (champion["release_digest"], champion["run_name"]) == (deployed["release"], deployed["run"])
    assert champion["artifact_digest"] == first.variant(DEPLOYED)["artifact_digest"]
    assert [variant["name"] for variant in run.document["variants"]] == ["torch", "onnx"]
    assert run.document["winner"] in ("torch", "onnx")
    # Evaluated anew on the same samples, and timed among the variants.
    before, now = first.variant(DEPLOYED)["metrics"], champion["metrics"]
    assert now["accuracy/accuracy"] == before["accuracy/accuracy"]
    assert now["robustness/fgsm_0.05"] == before["robustness/fgsm_0.05"]
    assert now["efficiency/latency_ratio"] > 0
    assert run.document["warnings"] == []


def test_rules_against_the_champion_are_judged_on_pairs_of_answers(run: Any, deployed: Any) -> None:
    name = f"champion {MODEL}/{deployed['version']}"
    for variant in ("torch", "onnx"):
        checks = run.variant(variant)["verdict"]["checks"]
        assert [check["against"] for check in checks] == [name] * 3
        assert [check["method"] for check in checks] == ["newcombe-tango", "newcombe-tango", "rounds"]
        assert {check["state"] for check in checks} == {"pass"}
        assert {drop["against"] for drop in run.variant(variant)["drops"]} == {"torch", name}


def test_the_champion_is_in_the_table_and_a_stricter_policy_is_judged_against_it_later(
    run: Any, deployed: Any, workplace: Any, tmp_path: Path
) -> None:
    name = run.document["run_name"]
    shown = workplace.call("compare", name)
    assert f"champion {MODEL}/{deployed['version']}" in shown.stdout
    policy = tmp_path / "strict.yaml"
    policy.write_text("rules: [{metric: efficiency/latency_ratio, max_ratio: 0.001, against: champion}]\n")
    again = workplace.call("gate", name, "--policy", str(policy), "--json")
    assert again.code == 3, os.linesep.join([again.stdout, again.stderr])
    assert {one["after"] for one in json.loads(again.stdout)["variants"]} == {"fail"}
