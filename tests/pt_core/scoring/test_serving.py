"""A bundle answers with neither the training code nor the user's own: both are there and may not be imported."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
from promotable import onnx_artifact

from pt_core.artifacts.registry import make_format
from pt_core.inference.requests import Predictions, PredictRequest
from pt_core.keys import Trust
from pt_core.scoring.requests import ScoreRequest, Scores

CALLS = """
import sys
from pt_core.inference.serving import refuse_all_but_serving
refuse_all_but_serving(sys.argv[1])

class NoPandas:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError(name)

# pyarrow asks whether it is there in a way of its own, which sees None as a module.
del sys.modules["pandas"]
sys.meta_path.insert(0, NoPandas())
from pt_core.child import call
print(call("pt_core.inference.predict:predict", sys.argv[2]).to_json())
print(call("pt_core.scoring.score:score", sys.argv[3]).to_json())
"""


@pytest.fixture
def made_of_own_code(digits, tmp_path, monkeypatch):
    """Return a function that names the user's module, which cannot be imported, as the code of an artifact."""
    (tmp_path / "own.py").write_text("raise RuntimeError('the code of the network was imported')")
    monkeypatch.setenv("PT_PIPELINE_CODE_PATH", str(tmp_path))

    def make(format_name):
        if format_name == "onnx":
            made = onnx_artifact(tmp_path / "store", digits)
        else:
            made = tiny.apply(make_format(format_name), digits, tmp_path)
        changes = {"spec": digits.spec.model_copy(update={"target": "own:build"}), "format": format_name}
        return tiny.reseal(made.model_copy(update=changes), tmp_path / "store")

    return make


@pytest.mark.parametrize("format_name", ["onnx", pytest.param("torchscript", marks=pytest.mark.campaign)])
def test_predict_and_score_need_no_code_but_that_of_serving(made_of_own_code, format_name, tmp_path, output):
    artifact = made_of_own_code(format_name)
    inputs = np.random.default_rng(3).random((5, 1, 8, 8), dtype=np.float32)
    np.save(tmp_path / "x.npy", inputs)
    trust = Trust(trusted_keys=str(tmp_path), unsigned=(artifact.digest,))
    asked = PredictRequest(bundle=artifact.directory, inputs=(str(tmp_path / "x.npy"),), trust=trust)
    scoring = ScoreRequest(artifact=artifact, source=str(tmp_path / "x.npy"), output=str(output))
    command = [sys.executable, "-c", CALLS, format_name, asked.to_json(), scoring.to_json()]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=dict(os.environ))
    predictions, scores = done.stdout.splitlines()
    answers = Predictions.from_json(predictions).predictions
    assert Scores.from_json(scores).num_rows == len(answers) == 5
    assert pq.read_table(output)["probability"].to_pylist() == [one.probability for one in answers]
