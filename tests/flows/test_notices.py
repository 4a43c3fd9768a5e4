"""A refused gate and a moved alias are told of where they happen: once, under their own names, in words for a person."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.runtime import flow_run
from promotable import MODEL, another_run, make_promotable, store

from flows.check import check
from flows.ending import ending
from flows.home import Home
from flows.job import Job, finish
from flows.promote import _promoted
from flows.rollback import _rolled_back
from pt_core.decision.result import RunResult
from tasks import tracking
from tasks.events import emit

LAST = "pt-pipeline.run.the-last-of-all"


class Told(NamedTuple):
    """What an event says."""

    event: str
    resource: str
    name: str
    body: str


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(root=str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def result(home: Home) -> RunResult:
    return make_promotable(Path(home.root))


@pytest.fixture(autouse=True)
def _works_with_the_server(prefect: SyncPrefectClient, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PT_PIPELINE_HOME", home.root)
    monkeypatch.setenv("PREFECT_API_URL", str(prefect.api_url).rstrip("/"))


def told_by(prefect: SyncPrefectClient, work: Callable[[], object]) -> list[Told]:
    """Do some work as a flow run, and return all that it told of."""

    @flow
    def at_work() -> str:
        ending(work)
        # Events are written down in their order, some time after they came: with this one all others are there.
        emit("pt-pipeline.maintenance.finished", resource_id=LAST, resource_name="last", body="-")
        return str(flow_run.id)

    wanted = {
        "event": {"prefix": ["pt-pipeline."]},
        "related": {"id": [f"prefect.flow-run.{at_work()}"]},
        "occurred": {"since": "2020-01-01T00:00:00Z"},
    }
    end = time.monotonic() + 30
    while time.monotonic() < end:
        got = httpx.post(f"{prefect.api_url}events/filter", json={"filter": wanted}).json()["events"]
        found = [
            Told(
                one["event"],
                one["resource"]["prefect.resource.id"],
                one["resource"]["prefect.resource.name"],
                one["payload"]["body"],
            )
            for one in got
        ]
        if LAST in [one.resource for one in found]:
            return [one for one in found if one.resource != LAST]
        time.sleep(0.2)
    raise AssertionError("the last event did not come")


def test_a_refused_gate_is_told_with_the_reason_of_every_variant(
    prefect: SyncPrefectClient, home: Home, result: RunResult
) -> None:
    refused = another_run(result, "refused").model_copy(
        update={"winner": None, "winner_reason": "no variant is chosen"}
    )
    tracked = tracking.start_run(
        home.tracking_uri,
        experiment=MODEL,
        run_name="refused",
        artifact_root=home.mlflow_artifacts,
        tags={},
    )
    job = Job("refused", check("digits", ()), home, tracked)
    (told,) = told_by(prefect, lambda: finish(job, refused))
    assert told[:3] == ("pt-pipeline.gate.refused", "pt-pipeline.run.refused", "refused")
    assert told.body.splitlines() == [
        f"digits: the gate refused the run refused. {refused.sentence}",
        *(f"{variant.name}: {variant.reason}" for variant in refused.variants),
    ]


def test_a_promotion_is_told_and_so_is_the_rollback_of_it(
    prefect: SyncPrefectClient, home: Home, result: RunResult
) -> None:
    def promote(run: str) -> list[Told]:
        store(Path(home.root), another_run(result, run))
        return told_by(prefect, lambda: _promoted(run, None, model=MODEL, reason=None, approval=None))

    told = [*promote("one"), *promote("two"), *told_by(prefect, lambda: _rolled_back(MODEL, None))]
    assert {one[:3] for one in told} == {
        ("pt-pipeline.promotion.finished", "pt-pipeline.model.digits", "digits")
    }
    assert [one.body for one in told] == [
        "digits has a new champion: models:/digits/1 (onnx of the run one).",
        "digits has a new champion: models:/digits/2 (onnx of the run two), in the place of version 1.",
        "digits was rolled back: champion is again models:/digits/1 (onnx of the run one), in the place of version 2.",
    ]
