"""The samples on which two artifacts answer differently: a bounded number of them, with what is needed to look at them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.bundle import MANIFEST, check_digest
from pt_core.data.dataset import Dataset, load_split
from pt_core.decision.result import RunResult
from pt_core.evaluation.pairs import CleanAnswers, read_answers
from pt_core.evaluation.report import EvaluationReport
from pt_core.inference.postprocess import softmax
from pt_core.reporting.thumbnails import describe_row, thumbnail

MAX_SHOWN = 12
"""Samples that are shown of each variant; the rest is counted."""

Images = NDArray[np.float32] | None


class Disagreement(NamedTuple):
    """One sample that two artifacts answer differently."""

    sample_id: int
    """Its id in the dataset."""
    label: str
    """Its true class."""
    reference_label: str
    """What the one answers."""
    reference_probability: float
    """And how sure it is."""
    variant_label: str
    """What the other answers."""
    variant_probability: float
    """And how sure that is."""
    reference_right: bool
    """Whether the one is right."""
    variant_right: bool
    """Whether the other is."""
    image: str | None
    """A small picture of it as a ``data:`` address; ``None`` for the row of a table, or where samples are gone."""
    row: str | None
    """Its values in words, of a table's row."""


class Disagreements(NamedTuple):
    """Every sample that two artifacts answer differently, the first few of them in full."""

    reference: str
    """Name of the one."""
    variant: str
    """Name of the other."""
    num_samples: int
    """Samples that both answered."""
    num_lost: int
    """The reference is right, the variant wrong."""
    num_won: int
    """The variant is right, the reference wrong."""
    num_both_wrong: int
    """Both are wrong, each in its own way."""
    shown: tuple[Disagreement, ...]
    """Lost ones first, then won ones, then both wrong; in each the surest answers of the variant first."""
    note: str
    """Why samples cannot be shown; nothing if they can."""

    @property
    def num_different(self) -> int:
        """How many samples are answered differently."""
        return self.num_lost + self.num_won + self.num_both_wrong

    @property
    def num_left_out(self) -> int:
        """How many of them are not shown."""
        return self.num_different - len(self.shown)

    @property
    def sentence(self) -> str:
        """The counts in words."""
        if not self.num_different:
            return f"all {self.num_samples} samples are answered as by {self.reference}"
        return (
            f"{self.num_different} of {self.num_samples} samples are answered differently: {self.num_lost} lost, "
            f"{self.num_won} won, {self.num_both_wrong} wrong in another way"
        )


def find_disagreements(result: RunResult) -> tuple[Disagreements, ...]:
    """Return where each variant of a run and the reference differ; nothing where the reference was not evaluated.

    Raises:
        IntegrityError: an evaluation, or the dataset, is on disk but not intact.
    """
    reference = next((variant for variant in result.variants if variant.name == result.reference), None)
    if reference is None or reference.evaluation is None:
        return ()
    others = [(v.name, v.evaluation) for v in result.variants if v.evaluation and v.name != reference.name]
    if result.champion and result.champion.evaluation:
        others.append((result.champion.name, result.champion.evaluation))
    x, note = read_samples(result.dataset)
    answers = read_answers(reference.evaluation)
    return tuple(
        compare_answers(
            (reference.name, answers), (name, read_answers(own)), dataset=result.dataset, x=x, note=note
        )
        for name, own in others
    )


def disagreements_between(
    reference: tuple[str, EvaluationReport], variant: tuple[str, EvaluationReport], *, dataset: Dataset
) -> Disagreements:
    """Return where two artifacts, each with its name, differ on the same samples of a dataset.

    Raises:
        IntegrityError: an evaluation, or the dataset, is on disk but not intact.
    """
    x, note = read_samples(dataset)
    first, second = ((name, read_answers(evaluation)) for name, evaluation in (reference, variant))
    return compare_answers(first, second, dataset=dataset, x=x, note=note)


def read_samples(dataset: Dataset) -> tuple[Images, str]:
    """Return the test samples, memory-mapped, or ``None`` and why they cannot be shown.

    Raises:
        IntegrityError: the dataset is on disk but not intact.
    """
    if not (Path(dataset.directory) / MANIFEST).is_file():
        return None, "The samples cannot be shown: the dataset is no longer on disk."
    check_digest(dataset)
    return load_split(dataset, "test").x, ""


def compare_answers(
    reference: tuple[str, CleanAnswers],
    variant: tuple[str, CleanAnswers],
    *,
    dataset: Dataset,
    x: Images,
    note: str,
) -> Disagreements:
    """Return where two sets of answers differ; ``x`` holds the samples in the order of the answers."""
    (first_name, first), (second_name, second) = reference, variant
    theirs, ours, truth = first.logits.argmax(axis=1), second.logits.argmax(axis=1), first.targets
    differ = theirs != ours
    lost, won = differ & (theirs == truth), differ & (ours == truth)
    both_wrong = differ & ~lost & ~won
    sureness = softmax(second.logits).max(axis=1)
    order = [row for kind in (lost, won, both_wrong) for row in _surest(kind, sureness)]
    return Disagreements(
        reference=first_name,
        variant=second_name,
        num_samples=len(truth),
        num_lost=int(lost.sum()),
        num_won=int(won.sum()),
        num_both_wrong=int(both_wrong.sum()),
        shown=tuple(_describe(row, first, second, dataset, x) for row in order[:MAX_SHOWN]),
        note=note if order else "",
    )


def _surest(kind: NDArray[np.bool_], sureness: NDArray[np.float64]) -> Sequence[int]:
    rows = np.flatnonzero(kind)
    found: list[int] = rows[np.argsort(-sureness[rows], kind="stable")].tolist()
    return found


def _describe(
    row: int, first: CleanAnswers, second: CleanAnswers, dataset: Dataset, x: Images
) -> Disagreement:
    target = int(first.targets[row])
    (theirs, their_share), (ours, our_share) = (_answer(one.logits[row]) for one in (first, second))
    sample = None if x is None else np.array(x[row])
    is_image = sample is not None and sample.ndim == 3
    names = dataset.table.outputs if dataset.table else ()
    return Disagreement(
        sample_id=int(first.ids[row]),
        label=dataset.labels[target],
        reference_label=dataset.labels[theirs],
        reference_probability=their_share,
        variant_label=dataset.labels[ours],
        variant_probability=our_share,
        reference_right=theirs == target,
        variant_right=ours == target,
        image=thumbnail(sample, dataset.input_range) if sample is not None and is_image else None,
        row=describe_row(sample, names) if sample is not None and not is_image else None,
    )


def _answer(logits: NDArray[np.float32]) -> tuple[int, float]:
    found = int(logits.argmax())
    return found, float(softmax(logits[None])[0, found])
