"""Which metrics of an evaluation are shares of samples, and of how many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pt_core.evaluation.pairs import ACCURACY, TOP_K_ACCURACY
from pt_core.evaluation.report import EvaluationReport
from pt_core.evaluation.scores import SLICE_METRICS, SliceScores, ThresholdScores


class Share(NamedTuple):
    """A share of samples."""

    value: float
    """The share, 0 to 1."""
    num_samples: int
    """Of how many."""


def shares(evaluation: EvaluationReport) -> dict[str, Share]:
    """Return every metric that is the share of samples that are right, by its flat name."""
    accuracy = evaluation.accuracy
    found = {
        ACCURACY: Share(accuracy.accuracy, accuracy.num_samples),
        **{point.metric: Share(point.accuracy, point.num_samples) for point in evaluation.robustness},
    }
    if accuracy.top_k_accuracy is not None:
        found[TOP_K_ACCURACY] = Share(accuracy.top_k_accuracy, accuracy.num_samples)
    for one in accuracy.thresholds:
        found |= _at_threshold(one)
    return found | dict(_of_slices(evaluation.slices))


def sample_counts(evaluation: EvaluationReport) -> dict[str, int]:
    """Return how many samples each metric rests on that does not rest on the whole test split."""
    counts = {name: share.num_samples for name, share in shares(evaluation).items()}
    slices = {f"{one.metric}/{name}": one.num_samples for one in evaluation.slices for name in SLICE_METRICS}
    return counts | slices


def _at_threshold(one: ThresholdScores) -> dict[str, Share]:
    named = {
        "accuracy": (one.accuracy, one.num_positive + one.num_negative),
        "recall": (one.recall, one.num_positive),
        "specificity": (one.specificity, one.num_negative),
    }
    return {one.name_of(name): Share(value, n) for name, (value, n) in named.items() if value is not None}


def _of_slices(slices: tuple[SliceScores, ...]) -> Iterator[tuple[str, Share]]:
    for one in slices:
        if one.accuracy is not None:
            yield f"{one.metric}/accuracy", Share(one.accuracy, one.num_samples)
