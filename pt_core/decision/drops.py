"""Measure how far a variant falls behind another artifact, metric by metric, on the same samples."""

from __future__ import annotations

from pt_core.decision.bootstrap import drop_ranges
from pt_core.decision.numbers import drop
from pt_core.decision.result import MeasuredVariant
from pt_core.decision.statistics import PairedDrop, paired_drop
from pt_core.evaluation.pairs import ACCURACY, PairedAnswers, pair_answers
from pt_core.evaluation.report import AccuracyReport, EvaluationReport


def measure_drops(variant: MeasuredVariant, against: MeasuredVariant) -> tuple[PairedDrop, ...]:
    """Return the drop of every metric that can be paired; nothing where either was not evaluated.

    Shares of right samples (accuracy, top-k accuracy, robustness) get the wider of Newcombe's and Tango's
    intervals; precision, recall, F1, balanced accuracy and Matthews a paired bootstrap. Areas under curves get none.

    Raises:
        NotComparable: the two were not asked the same.
        IntegrityError: an evaluation on disk is damaged.
    """
    ours, theirs = variant.evaluation, against.evaluation
    if ours is None or theirs is None:
        return ()
    answers = pair_answers(theirs, ours)
    counted = {m: paired_drop(pairs, metric=m, against=against.name) for m, pairs in answers.pairs.items()}
    resampled = _resampled(answers, ours.accuracy, theirs.accuracy, counted[ACCURACY])
    found = (*counted.values(), *resampled)
    return tuple(map(no_drop, found)) if is_same_artifact(ours, theirs) else found


def _resampled(
    answers: PairedAnswers, ours: AccuracyReport, theirs: AccuracyReport, accuracy: PairedDrop
) -> tuple[PairedDrop, ...]:
    """Return the drops by bootstrap, none surer of itself than that of accuracy.

    Where two artifacts answer alike, so do all resamples: without that the range would be empty.
    """
    below, above = accuracy.drop - accuracy.low, accuracy.high - accuracy.drop
    found = []
    for name, (low, high) in drop_ranges(answers, num_classes=len(ours.per_class)).items():
        reference, value = getattr(theirs, name), getattr(ours, name)
        if reference is None or value is None:
            continue
        observed = drop(reference, value)
        found.append(
            PairedDrop(
                metric=f"accuracy/{name}",
                against=accuracy.against,
                method="bootstrap",
                num_samples=accuracy.num_samples,
                pairs=None,
                drop=observed,
                low=min(low, observed - below),
                high=max(high, observed + above),
                p_value=None,
                detectable_drop=None,
            )
        )
    return tuple(found)


def is_same_artifact(ours: EvaluationReport, theirs: EvaluationReport) -> bool:
    """Return whether two evaluations are of one artifact, which differs from itself on no sample."""
    return ours.artifact_digest == theirs.artifact_digest


def no_drop(found: PairedDrop) -> PairedDrop:
    """Return the drop between an artifact and itself."""
    return found.model_copy(update={"method": "same artifact", "drop": 0.0, "low": 0.0, "high": 0.0})
