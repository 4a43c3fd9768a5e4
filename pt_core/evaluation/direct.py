"""Attack an artifact through its own runtime, by queries alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pt_core.data.dataset import Samples
from pt_core.evaluation.attacks.bounds import bounds_of
from pt_core.evaluation.attacks.square import square
from pt_core.evaluation.points import spread
from pt_core.evaluation.report import RobustnessPoint
from pt_core.evaluation.requests import EvaluateRequest
from pt_core.isolation import report_progress

Answers = dict[str, NDArray[np.int32]]
"""Predicted class of each perturbed sample, by the flat metric name of its point."""


def attack_directly(
    predict: Callable[[NDArray[np.float32]], NDArray[np.float32]], samples: Samples, request: EvaluateRequest
) -> tuple[tuple[RobustnessPoint, ...], NDArray[np.float32] | None, Answers]:
    """Run Square at every radius; return the points, what it made at the transfer table's, and the answers.

    Args:
        predict: the artifact, (n, *input_shape) float32 -> (n, num_classes) float32 logits.
        samples: the test split.
        request: which radii, how many samples and queries; the seed is that of the attacks.
    """
    config, points, kept = request.config, [], None
    answers: Answers = {}
    rows = spread(len(samples.x), config.square_samples)
    for done, epsilon in enumerate(config.square_epsilons, start=1):
        result = square(
            predict,
            np.array(samples.x[rows]),
            samples.y[rows],
            epsilon=epsilon,
            max_queries=config.square_queries,
            bounds=bounds_of(request.dataset),
            seed=request.attacks.seed,
        )
        scored = RobustnessPoint(
            attack="square",
            strength=epsilon,
            accuracy=float(result.is_right.mean()),
            num_samples=len(rows),
            num_queries=result.num_queries,
        )
        points.append(scored)
        answers[scored.metric] = np.where(result.is_right, samples.y[rows], -1).astype(np.int32)
        if epsilon == config.transfer_epsilon:
            kept = result.x
        report_progress(done, len(config.square_epsilons), f"square {epsilon:g}")
    return tuple(points), kept, answers
