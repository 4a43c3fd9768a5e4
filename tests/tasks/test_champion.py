"""The champion is fetched from a real registry and verified; what is wrong with it is told and stops nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from run_results import make_run_result

from pt_core.decision.result import ChampionResult, RunResult
from pt_core.keys import keys_of
from pt_core.release.release import make_release
from pt_core.release.requests import Release, ReleaseRequest
from tasks import tracking
from tasks.champion import fetch_champion
from tasks.registering import register, set_alias
from tasks.registry import BUNDLE_DIGEST, CHAMPION, RELEASE_DIGEST, RUN_NAME

MODEL = "digits"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def uri(home: Path) -> str:
    return f"sqlite:///{home}/mlflow.db"


@pytest.fixture(scope="module")
def result(home: Path) -> RunResult:
    return make_run_result(home / "store")


@pytest.fixture(scope="module")
def release(result: RunResult, home: Path) -> Release:
    return make_release(ReleaseRequest(result=result, store=str(home / "store"), signing_keys=keys_of(home)))


@pytest.fixture(scope="module")
def registered(result: RunResult, release: Release, home: Path, uri: str) -> Release:
    """The winner's release, as the champion of a model."""
    run = tracking.start_run(
        uri, experiment=MODEL, run_name="run", artifact_root=str(home / "mlartifacts"), tags={}
    )
    tags = {
        RELEASE_DIGEST: release.digest,
        BUNDLE_DIGEST: release.artifact.digest,
        RUN_NAME: result.run_name,
        "dataset_digest": result.dataset.digest,
    }
    folder = Path(release.directory)
    version = register(uri, name=MODEL, release=folder, run_id=run.run_id, tags=tags, description="")
    set_alias(uri, version, CHAMPION)
    return release


@pytest.fixture
def fetch(uri: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return what fetching into a fresh folder gives; trusted is whom the home trusts."""
    monkeypatch.setenv("PT_PIPELINE_HOME", str(home))

    def fetch(model: str = MODEL, address: str = uri) -> ChampionResult | None:
        return fetch_champion.fn(address, model=model, folder=str(tmp_path / "releases"))

    return fetch


def test_where_nothing_is_deployed_there_is_no_champion(fetch, registered) -> None:
    assert fetch("another") is None


def test_the_champion_comes_verified_with_what_it_rests_on(fetch, registered, result, tmp_path) -> None:
    found = fetch()
    assert (found.name, found.version, found.problem) == ("champion digits/1", "1", None)
    assert found.release_digest == registered.digest
    assert found.run_name == result.run_name
    assert found.dataset_digest == result.dataset.digest
    assert found.artifact.digest == registered.artifact.digest
    assert Path(found.artifact.directory).is_relative_to(tmp_path / "releases")


def test_a_champion_whose_signature_nobody_trusts_is_a_stated_problem(
    fetch, registered, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("PT_PIPELINE_HOME", str(tmp_path / "stranger"))
    found = fetch()
    assert (found.version, found.artifact) == ("1", None)
    assert "models:/digits/1" in found.problem
    assert "signed" in found.problem
    assert found.measured.artifact is None


def test_a_champion_whose_files_were_changed_is_a_stated_problem(
    fetch, registered, home, monkeypatch
) -> None:
    (kept,) = (home / "mlartifacts").rglob("MODEL_CARD.md")
    kept.rename(aside := home / "card.md")
    shutil.copyfile(aside, kept)
    with kept.open("a") as card:
        card.write(" ")
    try:
        found = fetch()
    finally:
        aside.rename(kept)
    assert found.artifact is None
    assert "MODEL_CARD.md" in found.problem


def test_a_registry_that_cannot_be_asked_is_a_problem_and_not_the_lack_of_a_champion(fetch) -> None:
    found = fetch(address="ftp://nowhere")
    assert (found.version, found.artifact) == (None, None)
    assert found.problem.startswith("it cannot be fetched: ")
