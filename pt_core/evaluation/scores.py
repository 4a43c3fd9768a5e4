"""What a user asked to measure besides the fixed metrics, as records: thresholds, slices, own metrics."""

from __future__ import annotations

from pt_core.record import Record

THRESHOLD_METRICS = ("accuracy", "precision", "recall", "specificity", "f1")
"""Fields and properties of :class:`ThresholdScores` that are metrics."""
SLICE_METRICS = ("accuracy", "recall_macro", "num_samples")
"""Fields of :class:`SliceScores` that are metrics."""


class ThresholdScores(Record):
    """A problem of two classes, decided at one probability of the second, the positive one; undefined is ``None``."""

    threshold: float
    """Samples of this probability and above are called positive."""
    true_positives: int
    """Positive samples called so."""
    false_positives: int
    """Negative samples called positive."""
    false_negatives: int
    """Positive samples called negative."""
    true_negatives: int
    """Negative samples called so."""

    @property
    def num_positive(self) -> int:
        """Samples of the positive class."""
        return self.true_positives + self.false_negatives

    @property
    def num_negative(self) -> int:
        """Samples of the negative class."""
        return self.true_negatives + self.false_positives

    @property
    def accuracy(self) -> float | None:
        """Share of samples called rightly."""
        return _share(self.true_positives + self.true_negatives, self.num_positive + self.num_negative)

    @property
    def precision(self) -> float | None:
        """Share of those called positive that are; undefined if none was."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """Share of the positive that were called so; undefined if there is none."""
        return _share(self.true_positives, self.num_positive)

    @property
    def specificity(self) -> float | None:
        """Share of the negative that were called so; undefined if there is none."""
        return _share(self.true_negatives, self.num_negative)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; undefined if nothing is or was called positive."""
        wrong = self.false_positives + self.false_negatives
        return _share(2 * self.true_positives, 2 * self.true_positives + wrong)

    def name_of(self, metric: str) -> str:
        """Return the flat name of one of :data:`THRESHOLD_METRICS`."""
        return threshold_name(metric, self.threshold)


class SliceScores(Record):
    """One part of the test samples."""

    slice: str
    """Name of the slice's configuration."""
    value: str
    """Which part of it."""
    num_samples: int
    """Samples in it."""
    accuracy: float | None
    """Share of them that are right; undefined where they are too few."""
    recall_macro: float | None
    """Mean recall over the classes that it has samples of; undefined where they are too few."""

    @property
    def metric(self) -> str:
        """What the flat names of its metrics start with."""
        return f"slices/{self.slice}={self.value}"


class CustomScore(Record):
    """What the user's own metric returned."""

    function: str
    """Its import path."""
    value: float | None
    """The number; undefined where it was none or the function raised."""

    @property
    def metric(self) -> str:
        """Its flat name."""
        return custom_name(self.function)


def threshold_name(metric: str, threshold: float) -> str:
    """Return the flat name of a metric at a threshold."""
    return f"accuracy/{metric}_at_{threshold:g}"


def custom_name(function: str) -> str:
    """Return the flat name of the user's metric at an import path."""
    return f"custom/{function.partition(':')[2]}"


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
