"""A flow run that is run again after its promotion failed: it promotes, and does not trip over its own journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.runtime import flow_run
from promotable import MODEL, another_run, make_promotable, places_in, store

from flows.home import Home
from flows.promote import _promoted
from flows.promotions import promote_winner
from pt_core.decision.result import RunResult
from pt_core.errors import StepFailed
from tasks import journal, registry
from tasks.promote import begin, proceed
from tasks.promotion import Promotion, PromotionConfig
from tasks.rollback import rollback


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def result(home: Path) -> RunResult:
    return make_promotable(home)


def fail(promotion: Promotion) -> None:
    if promotion.at_work_on == "challenger":
        raise StepFailed("MLflow was away")


def as_part_of_a_run(home: Path, run: RunResult, model: str) -> None:
    promote_winner(run, PromotionConfig(after_run=True, model_name=model), Home(root=str(home)))


def as_a_flow(home: Path, run: RunResult, model: str) -> None:
    _promoted(None, None, model=model, reason=None, approval=None)


@pytest.mark.parametrize("promote", [as_part_of_a_run, as_a_flow])
def test_a_flow_run_that_is_run_again_promotes(
    prefect: SyncPrefectClient,
    home: Path,
    result: RunResult,
    monkeypatch: pytest.MonkeyPatch,
    promote: Callable[[Path, RunResult, str], None],
) -> None:
    monkeypatch.setenv("PT_PIPELINE_HOME", str(home))
    monkeypatch.setenv("PREFECT_API_URL", str(prefect.api_url))
    places, model = places_in(home), f"{MODEL}-{promote.__name__}"
    run = another_run(result, promote.__name__)
    store(home, run)

    @flow(retries=1)
    def twice() -> str:
        if flow_run.run_count == 1:
            # A later run is stored before this one is run again, whose promotion is of its own run all the same.
            store(home, another_run(result, f"{promote.__name__}-later"))
            proceed(
                places,
                begin(places, run, identity=str(flow_run.id), model=model, forced_because="x"),
                run,
                on_step=fail,
            )
        promote(home, run, model)
        return str(flow_run.id)

    identity = twice()
    first, second = journal.attempts(Path(places.journal), identity)
    assert (first.state, first.run_name) == ("undone", run.run_name)
    assert (second.state, second.run_name) == ("champion", run.run_name)
    champion = registry.find_alias(places.tracking_uri, name=model, alias="champion")
    assert champion is not None
    assert champion.version == second.version


def test_a_rollback_that_is_run_again_goes_back_once(home: Path, result: RunResult) -> None:
    places, model = places_in(home), f"{MODEL}-back"
    made = [
        proceed(places, begin(places, run, identity=f"back-{run.run_name}", model=model), run)
        for run in (another_run(result, name) for name in ("one", "two", "three"))
    ]
    done = [rollback(places, identity="again", model=model) for _ in range(2)]
    assert [one.version for one in done] == [made[1].version] * 2
    champion = registry.find_alias(places.tracking_uri, name=model, alias="champion")
    assert champion is not None
    assert champion.version == made[1].version
