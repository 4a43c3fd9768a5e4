"""Pairs: how two artifacts answered on the same samples, counted from their evaluations on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from pt_core.bundle import check_digest
from pt_core.errors import NotComparable
from pt_core.evaluation.points import spread
from pt_core.evaluation.report import ANSWERS, LOGITS, SLICES, EvaluationReport
from pt_core.evaluation.thresholds import called_positive
from pt_core.evaluation.top_k import hits
from pt_core.record import Record

ACCURACY = "accuracy/accuracy"
TOP_K_ACCURACY = "accuracy/top_k_accuracy"

_SHARED = ("dataset_digest", "sample_ids_sha256", "attacks_digest")
_SHARED_CLEAN = ("data_fingerprint", "sample_ids_sha256")

Classes = NDArray[np.int64]
"""(N,) class numbers."""


class Pairs(Record):
    """How two artifacts did on the same samples: a 2x2 table of counts."""

    both_right: int
    """Samples that both classify rightly."""
    only_reference_right: int
    """Samples that the variant lost."""
    only_variant_right: int
    """Samples that the variant won."""
    both_wrong: int
    """Samples that neither classifies rightly."""

    @property
    def num_samples(self) -> int:
        """All of them."""
        return self.both_right + self.only_reference_right + self.only_variant_right + self.both_wrong

    @property
    def drop(self) -> float:
        """Accuracy of the reference minus the variant's, absolute; below zero is a gain."""
        return (self.only_reference_right - self.only_variant_right) / self.num_samples


class PairedAnswers(NamedTuple):
    """What two artifacts answered."""

    targets: Classes
    """The truth of the clean samples."""
    reference: Classes
    """What the one answered on them."""
    variant: Classes
    """What the other did."""
    pairs: Mapping[str, Pairs]
    """The counts by flat metric name: accuracy, top-k accuracy where it is defined, accuracy, recall
    and specificity at thresholds, accuracy in slices, and every robustness point."""


class CleanAnswers(NamedTuple):
    """What one artifact answered on the clean test samples."""

    logits: NDArray[np.float32]
    """(N, num_classes) float32."""
    targets: Classes
    """(N,) the truth."""
    ids: Classes
    """(N,) ids of the samples."""


def pair_answers(reference: EvaluationReport, variant: EvaluationReport) -> PairedAnswers:
    """Read what two artifacts answered on the same samples and perturbations.

    Raises:
        NotComparable: they were not asked the same.
        IntegrityError: an evaluation on disk is not the one of its record.
    """
    _check_shared(reference, variant, _SHARED)
    first, second = _read_both(reference, variant)
    targets, ours, theirs = first.targets, second.logits.argmax(axis=1), first.logits.argmax(axis=1)
    pairs = {ACCURACY: count(theirs == targets, ours == targets)}
    k = reference.accuracy.top_k
    if first.logits.shape[1] > k == variant.accuracy.top_k:
        pairs[TOP_K_ACCURACY] = count(*(hits(found.logits, targets, k) for found in (first, second)))
    pairs |= _at_thresholds(reference, first, second)
    pairs |= _sliced(reference, variant, (theirs == targets, ours == targets))
    pairs |= _perturbed(reference, variant, targets)
    return PairedAnswers(targets, theirs, ours, pairs)


def pair_clean(reference: EvaluationReport, variant: EvaluationReport) -> Pairs:
    """Count right answers on the clean samples alone, which evaluations of two runs may share.

    Raises:
        NotComparable: their test samples differ.
        IntegrityError: an evaluation on disk is not the one of its record.
    """
    _check_shared(reference, variant, _SHARED_CLEAN)
    first, second = _read_both(reference, variant)
    right = [found.logits.argmax(axis=1) == found.targets for found in (first, second)]
    return count(*right)


def count(reference_right: NDArray[np.bool_], variant_right: NDArray[np.bool_]) -> Pairs:
    """Return the table of which of two artifacts was right on each of (N,) samples."""
    return Pairs(
        both_right=int((reference_right & variant_right).sum()),
        only_reference_right=int((reference_right & ~variant_right).sum()),
        only_variant_right=int((~reference_right & variant_right).sum()),
        both_wrong=int((~reference_right & ~variant_right).sum()),
    )


def _check_shared(reference: EvaluationReport, variant: EvaluationReport, names: Sequence[str]) -> None:
    details = [
        f"{name}: {getattr(reference, name)[:12]} and {getattr(variant, name)[:12]}"
        for name in names
        if getattr(reference, name) != getattr(variant, name)
    ]
    if details:
        raise NotComparable(
            f"pairs: {reference.directory} and {variant.directory} were not asked the same, expected equal "
            "samples and perturbations; evaluate both in one run",
            details=details,
        )


def _read_both(reference: EvaluationReport, variant: EvaluationReport) -> tuple[CleanAnswers, CleanAnswers]:
    first, second = read_answers(reference), read_answers(variant)
    if not (np.array_equal(first.ids, second.ids) and np.array_equal(first.targets, second.targets)):
        raise NotComparable(
            f"pairs: {reference.directory} and {variant.directory} hold different samples; evaluate both again"
        )
    return first, second


def read_answers(evaluation: EvaluationReport) -> CleanAnswers:
    """Read what one artifact answered.

    Raises:
        IntegrityError: the evaluation on disk is not the one of its record.
    """
    check_digest(evaluation)
    tensors = load_file(Path(evaluation.directory) / LOGITS)
    return CleanAnswers(tensors["logits"], tensors["targets"], tensors["ids"])


def _perturbed(reference: EvaluationReport, variant: EvaluationReport, targets: Classes) -> dict[str, Pairs]:
    first, second = _answers(reference), _answers(variant)
    pairs = {}
    for metric in (name for name in first if name in second):
        one, other = first[metric], second[metric]
        if len(one) != len(other):
            raise NotComparable(
                f"pairs: {metric} has {len(one)} and {len(other)} samples; evaluate both in one run"
            )
        # Perturbed samples are spread evenly over the split, so that their number says which they are.
        truth = targets[spread(len(targets), len(one))]
        pairs[metric] = count(one == truth, other == truth)
    return pairs


def _at_thresholds(
    reference: EvaluationReport, first: CleanAnswers, second: CleanAnswers
) -> dict[str, Pairs]:
    """Return the counts at each threshold over all samples, over the positive ones and over the others."""
    positive, pairs = first.targets == 1, {}
    for one in reference.accuracy.thresholds:
        right = [called_positive(found.logits, one.threshold) == positive for found in (first, second)]
        kinds = {
            "accuracy": np.full_like(positive, fill_value=True),
            "recall": positive,
            "specificity": ~positive,
        }
        for name, rows in kinds.items():
            if rows.any():
                pairs[one.name_of(name)] = count(*(found[rows] for found in right))
    return pairs


def _sliced(
    reference: EvaluationReport,
    variant: EvaluationReport,
    right: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> dict[str, Pairs]:
    """Return the counts in every slice that has metrics and holds the same samples for both."""
    first, second = (_tensors(found, SLICES) for found in (reference, variant))
    defined = {one.metric for one in reference.slices if one.accuracy is not None}
    return {
        f"{name}/accuracy": count(right[0][rows], right[1][rows])
        for name, rows in first.items()
        if name in defined and name in second and np.array_equal(rows, second[name])
    }


def _answers(evaluation: EvaluationReport) -> dict[str, NDArray[np.int32]]:
    # An evaluation of an earlier version has none; the gate says so of every rule that needs them.
    return _tensors(evaluation, ANSWERS)


def _tensors(evaluation: EvaluationReport, file: str) -> dict[str, NDArray[Any]]:
    path = Path(evaluation.directory) / file
    return dict(load_file(path)) if path.is_file() else {}
