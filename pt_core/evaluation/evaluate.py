"""Evaluate one artifact: accuracy and robustness on the test split, the same for every format."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from pt_core.artifacts.plugin import Predictor
from pt_core.bundle import check_digest, seal, staging
from pt_core.data.dataset import Samples, load_split
from pt_core.errors import NotComparable, StepFailed
from pt_core.evaluation.accuracy import check_finite, score
from pt_core.evaluation.custom import measure_custom
from pt_core.evaluation.direct import Answers, attack_directly
from pt_core.evaluation.points import spread
from pt_core.evaluation.report import (
    ANSWERS,
    LOGITS,
    SLICES,
    SQUARE,
    AccuracyReport,
    EvaluationInfo,
    EvaluationReport,
    RobustnessPoint,
)
from pt_core.evaluation.requests import EvaluateRequest
from pt_core.evaluation.scores import SliceScores
from pt_core.evaluation.slices import Slice, part, score_slices
from pt_core.inference.predictor import describe_runtime, load_predictor
from pt_core.isolation import report_progress

Tensors = dict[str, NDArray[Any]]
"""The tensors of one file."""


def evaluate(request: EvaluateRequest) -> EvaluationReport:
    """Score one artifact in this process, which is to do nothing else.

    Raises:
        NotComparable: artifact, dataset and attacks do not rest on the same samples and labels.
        IntegrityError: the bytes of the artifact, the dataset or the attacks are damaged.
        StepFailed: the logits have a wrong shape or are not finite.
    """
    _check_comparable(request)
    check_digest(request.dataset)
    check_digest(request.attacks)
    samples = load_split(request.dataset, "test")
    predictor = load_predictor(request.artifact, device="cpu")
    logits = _predict(predictor, samples.x, request, where="clean samples")
    replayed, answers = _replay(predictor, samples, request)
    predict = functools.partial(_predict, predictor, request=request, where="samples of Square")
    searched, found, direct_answers = attack_directly(predict, samples, request)
    slices = part(request.config.slices, samples, table=request.dataset.table)
    sliced, too_small = score_slices(slices, logits.argmax(axis=1), samples.y)
    custom, no_number = measure_custom(request.config.metrics, logits, np.array(samples.y))
    info = EvaluationInfo(
        artifact_digest=request.artifact.digest,
        dataset_digest=request.dataset.digest,
        data_fingerprint=request.dataset.fingerprint,
        sample_ids_sha256=request.dataset.split("test").ids_sha256,
        attacks_digest=request.attacks.digest,
        accuracy=_score(logits, samples, request),
        robustness=(*replayed, *searched),
        slices=sliced,
        custom=custom,
        undefined=(*too_small, *no_number),
        runtime=describe_runtime(predictor),
    )
    answers |= direct_answers
    tensors: Tensors = {"logits": logits, "targets": np.array(samples.y), "ids": np.array(samples.ids)}
    files = {LOGITS: tensors, ANSWERS: answers, **_rows(sliced, slices)}
    return _write(info, files, searched=found, store=Path(request.store))


def _score(logits: NDArray[np.float32], samples: Samples, request: EvaluateRequest) -> AccuracyReport:
    config = request.config
    return score(
        logits,
        samples.y,
        request.dataset.labels,
        top_k=config.top_k,
        num_bins=config.calibration_bins,
        thresholds=config.thresholds,
    )


def _rows(scores: Sequence[SliceScores], slices: Sequence[Slice]) -> dict[str, Tensors]:
    """Return the file of which sample is in which slice; none without slices."""
    rows: Tensors = {found.metric: one.rows for found, one in zip(scores, slices, strict=True)}
    return {SLICES: rows} if rows else {}


def _check_comparable(request: EvaluateRequest) -> None:
    artifact, dataset, attacks = request.artifact, request.dataset, request.attacks
    if attacks.dataset_digest != dataset.digest:
        raise NotComparable(
            f"evaluate: the attacks perturb dataset {attacks.dataset_digest[:12]}, "
            f"expected {dataset.digest[:12]}; craft them again"
        )
    observed = (artifact.spec.input_shape, artifact.labels)
    expected = (dataset.input_shape, dataset.labels)
    if observed != expected:
        raise NotComparable(
            "evaluate: the artifact does not fit the dataset",
            details=[
                f"artifact: input shape {observed[0]}, {len(observed[1])} labels {observed[1][:5]}",
                f"dataset: input shape {expected[0]}, {len(expected[1])} labels {expected[1][:5]}",
            ],
        )
    for kind in ("table", "images"):
        # The shape may be equal all the same, e.g. with two columns swapped.
        if getattr(artifact.spec, kind) != getattr(dataset, kind):
            raise NotComparable(
                f"evaluate: the artifact's input was encoded otherwise than the dataset (data.{kind}), so equal samples "
                "are other numbers to it; set the encoding as the artifact's, or leave the artifact out"
            )


def _predict(
    predictor: Predictor, x: NDArray[np.float32], request: EvaluateRequest, *, where: str
) -> NDArray[np.float32]:
    """Return the (N, num_classes) logits of samples that stay on disk but for one batch."""
    size = request.config.batch_size
    logits = np.empty((len(x), len(request.dataset.labels)), dtype=np.float32)
    for start in range(0, len(x), size):
        batch = np.array(x[start : start + size])
        found = predictor.logits(batch)
        expected = (len(batch), logits.shape[1])
        if found.shape != expected:
            raise StepFailed(f"evaluate: logits of shape {found.shape} on {where}, expected {expected}")
        logits[start : start + size] = found
    check_finite(logits, where=f"evaluate: {where}")
    return logits


def _replay(
    predictor: Predictor, samples: Samples, request: EvaluateRequest
) -> tuple[tuple[RobustnessPoint, ...], Answers]:
    """Score every perturbation that was crafted once; return the points and the predicted classes."""
    points: list[RobustnessPoint] = []
    answers: Answers = {}
    total = len(request.attacks.points)
    rows = spread(len(samples.x), request.attacks.num_samples)
    expected, targets = (len(rows), *samples.x.shape[1:]), samples.y[rows]
    for done, point in enumerate(request.attacks.points, start=1):
        file = Path(request.attacks.directory) / point.file
        x = np.load(file, mmap_mode="r", allow_pickle=False)
        if x.shape != expected:
            raise NotComparable(f"evaluate: {point.file} has shape {x.shape}, expected {expected}")
        predicted = _predict(predictor, x, request, where=point.file).argmax(axis=1)
        scored = RobustnessPoint(
            attack=point.attack,
            strength=point.strength,
            accuracy=float((predicted == targets).mean()),
            num_samples=len(rows),
        )
        points.append(scored)
        answers[scored.metric] = predicted.astype(np.int32)
        report_progress(done, total, f"{point.attack} {point.strength:g}")
    return tuple(points), answers


def _write(
    info: EvaluationInfo,
    files: Mapping[str, Mapping[str, NDArray[Any]]],
    *,
    searched: NDArray[np.float32] | None,
    store: Path,
) -> EvaluationReport:
    with staging(store) as folder:
        for name, tensors in files.items():
            save_file(dict(tensors), folder / name)
        if searched is not None:
            np.save(folder / SQUARE, searched)
        bundle = seal(folder, name="evaluation", kind="evaluation", info=info)
    return EvaluationReport.model_validate({**info.model_dump(), **bundle.model_dump()})
