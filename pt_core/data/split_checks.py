"""Name everything that is wrong with the splits and ids of a user: empty ones, unknown names, leaks, unseen classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pt_core.data.checks import join, name_of, rows_of
from pt_core.data.config import SPLITS
from pt_core.data.splits import MIN_SAMPLES_PER_CLASS

_ALIASES = {"val": "validation", "valid": "validation", "training": "train"}


def named(split: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return names of splits in this product's words: val and valid are validation."""
    names, inverse = np.unique(split, return_inverse=True)
    stripped = [str(name).strip().lower() for name in names]
    words: NDArray[np.str_] = np.array([_ALIASES.get(name, name) for name in stripped], dtype=np.str_)
    return words[inverse]


def split_problems(split: NDArray[np.str_], *, asked: Sequence[str] = ("train",)) -> Iterator[str]:
    """Yield unknown names, and splits that were asked for and are empty.

    Args:
        split: (N,) names, as :func:`named` gives them.
        asked: names of the splits that must have samples.
    """
    unknown = ~np.isin(split, SPLITS)
    if unknown.any():
        found = [repr(name) for name in np.unique(split[unknown]).tolist()]
        yield (
            f"the split is {join(found)} in {rows_of(unknown)}, expected train, validation (or val), calibration or test"
        )
    for name in asked:
        if not (split == name).any():
            yield f"the {name} split is empty, expected at least one sample of each class"


def leak_problems(
    split: NDArray[np.str_],
    groups: NDArray[np.int64],
    ids: NDArray[np.str_],
    *,
    files: Sequence[str] | None = None,
) -> Iterator[str]:
    """Yield the ids that are in more than one split.

    Args:
        split: (N,) names.
        groups: (N,) number of the id of each row.
        ids: the ids by number.
        files: (N,) the file of each row, where ids are digests that nobody can look for.
    """
    pairs = np.unique(np.stack([groups, np.unique(split, return_inverse=True)[1]], axis=1), axis=0)[:, 0]
    shared = np.flatnonzero(np.bincount(pairs, minlength=len(ids)) > 1)
    if len(shared):
        examples = [_leak(split, np.flatnonzero(groups == group), ids[group], files) for group in shared[:5]]
        more = ", ..." if len(shared) > len(examples) else ""
        yield (
            f"{len(shared)} id(s) are in more than one split: {', '.join(examples)}{more}; what is tested must not be "
            "learnt from: put all rows of an id into one split"
        )


def _leak(split: NDArray[np.str_], rows: NDArray[np.int64], name: str, files: Sequence[str] | None) -> str:
    """Return where the rows of one id are."""
    names, first = np.unique(split[rows], return_index=True)
    if files is None:
        return f"{name} ({' and '.join(names.tolist())})"
    return " and ".join(f"{files[row]} ({split[row]})" for row in rows[first].tolist())


def class_problems(
    split: NDArray[np.str_],
    y: NDArray[np.int64],
    labels: Sequence[str],
    *,
    groups: NDArray[np.int64] | None = None,
) -> Iterator[str]:
    """Yield classes of a given split that the training split lacks, and those too small to draw the others from.

    Args:
        split: (N,) names.
        y: (N,) class numbers.
        labels: name of each class.
        groups: (N,) number of the id of each row, where rows of one id stay together; the class of an id is that of its
            first row.
    """
    train = np.bincount(y[split == "train"], minlength=len(labels))
    present = [name for name in SPLITS if (split == name).any()]
    for name in present:
        unseen = np.flatnonzero((np.bincount(y[split == name], minlength=len(labels)) > 0) & (train == 0))
        if len(unseen):
            rows = (split == name) & np.isin(y, unseen)
            yield (
                f"the {name} split has class {join([name_of(int(c), labels) for c in unseen])}, unseen in train, "
                f"in {rows_of(rows)}; add samples of it to train or leave it out"
            )
    needed = 1 + len(SPLITS) - len({*present, "train"})
    counts, kind = train, "sample(s)"
    if groups is not None:
        rows = np.flatnonzero(split == "train")
        first = rows[np.unique(groups[rows], return_index=True)[1]]
        counts, kind = np.bincount(y[first], minlength=len(labels)), "id(s)"
    for label in np.flatnonzero((train > 0) & (counts < needed)):
        yield (
            f"train: class {name_of(int(label), labels)} has {counts[label]} {kind}, expected at least {needed} "
            f"(one for train and each split that is drawn from it)"
        )


def group_problems(y: NDArray[np.int64], groups: NDArray[np.int64], labels: Sequence[str]) -> Iterator[str]:
    """Yield classes with too few ids to have one in each split."""
    _, first = np.unique(groups, return_index=True)
    counts = np.bincount(y[first], minlength=len(labels))
    for label in np.flatnonzero(counts < MIN_SAMPLES_PER_CLASS):
        yield (
            f"class {name_of(int(label), labels)} has {counts[label]} id(s), expected at least {MIN_SAMPLES_PER_CLASS} "
            "(one for each split, since rows of one id stay together)"
        )
