"""A home with a champion and later runs, as maintenance finds it: with a real MLflow and real bundles."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from promotable import MODEL, another_run, make_promotable, places_in, store

from flows.home import Home
from flows.retention import ORPHAN_AGE_S
from pt_core.bundle import seal, staging
from pt_core.decision.result import RunResult
from pt_core.record import Record
from tasks import tracking
from tasks.promote import begin, proceed


class Info(Record):
    """What a bundle of the tests says of itself."""

    text: str
    """Anything."""


def make_bundle(folder: Path, text: str, *, age_s: float = 0.0) -> tuple[Path, str]:
    with staging(folder) as scratch:
        (scratch / "data").write_bytes(os.urandom(1000))
        made = seal(scratch, name="evaluation", kind="evaluation", info=Info(text=text))
    path = Path(made.directory)
    os.utime(path, (time.time() - age_s, time.time() - age_s))
    return path, made.digest


def add_run(home: Path, like: RunResult, number: int, digest: str, uri: str | None = None) -> None:
    """Store a later run that names a bundle of its own."""
    name = f"later-{number}"
    tracked = tracking.start_run(
        uri or places_in(home).tracking_uri,
        experiment=MODEL,
        run_name=name,
        artifact_root=str(home / "mlartifacts"),
        tags={},
    )
    tracking.finish_run(tracked, "FINISHED")
    told = {
        "started_at": f"2030-01-{number + 1:02}T00:00:00+00:00",
        "warnings": (f"it also made {digest}",),
        "mlflow_run_id": tracked.run_id,
    }
    store(home, another_run(like, name).model_copy(update=told))


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """A home whose only run was promoted."""
    home = tmp_path_factory.mktemp("home")
    result = make_promotable(home)
    begun = begin(places_in(home), result, identity="first", model=MODEL)
    assert proceed(places_in(home), begun, result).state == "champion"
    return home, result


@pytest.fixture
def home(
    champion: tuple[Path, RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Home, RunResult, list[Path]]:
    """A copy of it with four later runs, each with a bundle of its own, and an old bundle that nobody names."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made, result = champion
    root = tmp_path / "home"
    shutil.copytree(made, root)
    text = (root / "runs" / result.run_name / "run.json").read_text()
    (root / "runs" / result.run_name / "run.json").write_text(text.replace(str(made), str(root)))
    here = RunResult.from_json((root / "runs" / result.run_name / "run.json").read_bytes())
    bundles = []
    for number in range(4):
        path, digest = make_bundle(root / "store", f"later {number}")
        add_run(root, here, number, digest)
        bundles.append(path)
    make_bundle(root / "store", "of a failed run", age_s=ORPHAN_AGE_S + 60)
    return Home(root=str(root)), here, bundles
