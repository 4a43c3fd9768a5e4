"""Predict files with one artifact."""

from __future__ import annotations

from pathlib import Path

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.guard import open_trusted
from pt_core.artifacts.plugin import Predictor
from pt_core.errors import DataError
from pt_core.inference.postprocess import to_predictions
from pt_core.inference.predictor import batch_size, load_predictor
from pt_core.inference.preprocess import read_inputs
from pt_core.inference.requests import Prediction, Predictions, PredictRequest


def predict(request: PredictRequest) -> Predictions:
    """Return the class of every sample of every file, with its probabilities.

    Raises:
        IntegrityError: the artifact's bytes are not what its manifest says, or it is a program nobody vouches for.
        DataError: a file does not hold samples of the network's shape, type and range.
    """
    if not request.inputs:
        raise DataError("predict: no input file given, expected at least one")
    artifact = open_trusted(Path(request.bundle), request.trust)
    predictor = load_predictor(artifact)
    answers = [answer for path in request.inputs for answer in _predict_file(path, artifact, predictor)]
    return Predictions(
        bundle_digest=artifact.digest,
        format=artifact.format,
        labels=artifact.labels,
        predictions=tuple(answers),
    )


def _predict_file(path: str, artifact: Artifact, predictor: Predictor) -> list[Prediction]:
    samples = read_inputs(Path(path), artifact.spec)
    answers: list[Prediction] = []
    size = batch_size(artifact.spec)
    for start in range(0, len(samples), size):
        logits = predictor.logits(samples[start : start + size])
        found = to_predictions(logits, source=path, labels=artifact.labels)
        answers += [answer.model_copy(update={"index": answer.index + start}) for answer in found]
    return answers
