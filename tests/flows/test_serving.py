"""What is deployed is used by its name in the registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from promotable import make_promotable

from flows.cli.predict import predict
from flows.home import Home
from flows.serving import open_model
from pt_core.errors import ConfigError, IntegrityError
from pt_core.release.release import make_release
from pt_core.release.requests import Release, ReleaseRequest
from tasks.registering import register, set_alias
from tasks.registry import BUNDLE_DIGEST, CHAMPION, RELEASE_DIGEST, RUN_NAME


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(root=str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def champion(home) -> Release:
    """The release of a linear network on 64 pixels, in use; its weights are drawn by seed 5."""
    result = make_promotable(Path(home.root))
    release = make_release(ReleaseRequest(result=result, store=home.store, signing_keys=home.keys))
    tags = {RELEASE_DIGEST: release.digest, BUNDLE_DIGEST: release.artifact.digest, RUN_NAME: result.run_name}
    made = register(
        home.tracking_uri,
        name="digits",
        release=Path(release.directory),
        run_id=str(result.mlflow_run_id),
        tags=tags,
        description="",
    )
    set_alias(home.tracking_uri, made, CHAMPION)
    return release


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    path = tmp_path_factory.mktemp("inputs") / "x.npy"
    np.save(path, np.random.default_rng(6).random((300, 1, 8, 8), dtype=np.float32))
    return path


def expected(inputs):
    """Return the probabilities by numpy's own arithmetic."""
    weights = np.random.default_rng(5).normal(size=(64, 10)).astype(np.float32)
    logits = (np.load(inputs).reshape(-1, 64) @ weights).astype(np.float64)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def test_a_version_a_release_and_an_artifact_are_the_same_bundle(champion, home):
    found = [
        open_model(name, home, trust=home.trust()) for name in ("models:/digits@champion", "models:/digits/1")
    ]
    assert [one.name for one in found] == ["models:/digits/1"] * 2
    folder = Path(found[0].artifact.directory)
    assert folder.is_relative_to(home.releases)
    by_path = [open_model(str(path), home, trust=home.trust()) for path in (folder.parent, folder)]
    assert {one.artifact.digest for one in (*found, *by_path)} == {champion.artifact.digest}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("models:/digits@nobody", "there is no alias nobody; known are @champion"),
        ("models:/digits/7", "there is no version 7"),
        ("models:/digits", "expected models:/NAME@ALIAS or models:/NAME/NUMBER"),
        ("nowhere", "nowhere: no such folder; expected a release, an artifact, models:/NAME@champion or"),
    ],
)
def test_a_model_that_does_not_exist_is_a_sentence(champion, home, model, said):
    with pytest.raises(ConfigError, match=said):
        open_model(model, home, trust=home.trust())


def test_a_release_that_somebody_changed_is_not_served(champion, home):
    artifact = open_model("models:/digits/1", home, trust=home.trust()).artifact
    graph = Path(artifact.directory) / "model.onnx"
    before = graph.read_bytes()
    graph.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="against its manifest"):
        open_model(str(Path(artifact.directory).parent), home, trust=home.trust())
    fetched = open_model("models:/digits/1", home, trust=home.trust()).artifact
    assert (Path(fetched.directory) / "model.onnx").read_bytes() == before, "the registry has the bytes still"


def test_predict_asks_the_champion(champion, home, inputs, capsys):
    predict("models:/digits@champion", [inputs], home, as_json=True)
    answer = json.loads(capsys.readouterr().out)
    found = [one["probabilities"] for one in answer["predictions"]]
    np.testing.assert_allclose(found, expected(inputs), atol=1e-5)
    assert answer["bundle_digest"] == champion.artifact.digest


NETWORK = """
from torch import nn

def build() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def test_a_network_of_the_users_own_is_imported_from_the_current_folder(home, inputs, tmp_path):
    (tmp_path / "served_network.py").write_text(NETWORK)
    made = subprocess.run(
        [sys.executable, "-c", MAKE, home.root],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    asked = [sys.executable, "-m", "flows", "predict", made.stdout.strip(), str(inputs), "--json"]
    env = {**os.environ, "PT_PIPELINE_HOME": home.root, "PYTHONPATH": str(Path(__file__).parents[2])}
    env.pop("PT_PIPELINE_CODE_PATH", None)
    here = subprocess.run(asked, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert here.returncode == 0, here.stderr
    assert len(json.loads(here.stdout)["predictions"]) == 300
    elsewhere = subprocess.run(
        asked, cwd=tmp_path.parent, env=env, capture_output=True, text=True, check=False
    )
    assert elsewhere.returncode == 2
    assert "PT_PIPELINE_CODE_PATH" in elsewhere.stdout + elsewhere.stderr


MAKE = """
import sys
from pathlib import Path
import tiny
from pt_core.keys import keys_of
from pt_core.signing import sign
home = Path(sys.argv[1])
store = home / "store"
trained = tiny.checkpoint(store, tiny.digits(store), target="served_network:build")
artifact = tiny.root_artifact(trained, store)
sign(Path(artifact.directory), keys_of(home))
print(artifact.directory)
"""
