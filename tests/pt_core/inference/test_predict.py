"""From files to named predictions, against scikit-learn's and torch's own arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from pt_core.artifacts.checkpoint_files import load_network
from pt_core.data.dataset import load_split
from pt_core.errors import DataError, IntegrityError, StepFailed
from pt_core.inference.postprocess import softmax, to_predictions
from pt_core.inference.predict import predict
from pt_core.inference.predictor import load_predictor
from pt_core.inference.requests import PredictRequest


@pytest.fixture
def root(dataset, tmp_path):
    return tiny.root_artifact(tiny.checkpoint(tmp_path, dataset), tmp_path)


def test_predictions_are_the_networks_own_in_the_order_of_the_file(root, dataset, tmp_path):
    x = np.array(load_split(dataset, "test").x[:300])
    np.save(tmp_path / "many.npy", x)
    np.save(tmp_path / "one.npy", x[0])
    files = (str(tmp_path / "many.npy"), str(tmp_path / "one.npy"))
    answer = predict(PredictRequest(bundle=root.directory, inputs=files))
    with torch.inference_mode():
        expected = load_network(root, root.spec)(torch.from_numpy(x)).softmax(dim=1)
    found = answer.predictions
    assert [p.index for p in found] == [*range(300), 0]
    assert [p.input for p in found] == [files[0]] * 300 + [files[1]]
    assert [p.label for p in found[:300]] == [dataset.labels[i] for i in expected.argmax(dim=1)]
    np.testing.assert_allclose([p.probabilities for p in found[:300]], expected, atol=1e-6)
    assert (answer.bundle_digest, answer.format, answer.labels) == (root.digest, "torch", dataset.labels)


def test_a_damaged_artifact_answers_nothing(root, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 8, 8)))
    weights = tmp_path / root.directory / root.payload[0]
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        predict(PredictRequest(bundle=root.directory, inputs=(str(tmp_path / "x.npy"),)))


def test_no_input_is_refused(root):
    with pytest.raises(DataError, match="no input file"):
        predict(PredictRequest(bundle=root.directory, inputs=()))


def test_another_artifact_in_the_place_of_a_recorded_one_is_refused(root):
    with pytest.raises(IntegrityError, match="another bundle took its place"):
        load_predictor(root.model_copy(update={"digest": "f" * 64}))


def test_softmax_survives_large_logits_and_sums_to_one():
    logits = np.array([[1000, 0, -1000], [0, 0, 0], [3e38, 3e38, -3e38]], np.float32)
    found = softmax(logits)
    np.testing.assert_allclose(found, [[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0]], atol=1e-15)


def test_logits_that_are_not_finite_have_no_class():
    logits = np.array([[1, 2], [np.nan, 1]], np.float32)
    with pytest.raises(StepFailed, match=r"x\.npy: the logits of sample 1 are not finite"):
        to_predictions(logits, source="x.npy", labels=("a", "b"))
