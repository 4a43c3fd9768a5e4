"""Which rows of numbers a network takes, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pt_core.modeling.spec import ModelSpec
from pt_core.scoring.requests import BadRow
from pt_core.scoring.source import Block

NOT_FINITE = "the network's output is not finite"
"""Why a row that the network takes is bad all the same."""


def problems_of(samples: NDArray[np.float32], spec: ModelSpec, names: Sequence[str]) -> dict[int, str]:
    """Return the reason for each row of (N, *input_shape) samples that cannot be scored, by its position.

    Args:
        samples: the rows; a value that is missing is NaN.
        spec: the network's input.
        names: what each value of a row is called; empty where it has no name.
    """
    flat = samples.reshape(len(samples), -1)
    fits = np.isfinite(flat)
    expected = "a finite number"
    if spec.input_range is not None:
        least, greatest = spec.input_range
        expected = f"{least:g} to {greatest:g}"
        with np.errstate(invalid="ignore"):
            fits &= (flat >= least) & (flat <= greatest)
    found = {}
    for row in np.flatnonzero(~fits.all(axis=1)):
        column = int(np.argmin(fits[row]))
        name = names[column] if column < len(names) else f"value {column}"
        found[int(row)] = f"{name}: {flat[row, column]:g}, expected {expected}"
    return found


def make_block(
    samples: NDArray[np.float32],
    problems: Mapping[int, str],
    *,
    inputs: Sequence[str],
    rows: Sequence[int],
    ids: object = None,
) -> Block:
    """Return the block of all rows, of which those with a problem are left out of the samples."""
    good = np.ones(len(samples), dtype=np.bool_)
    good[list(problems)] = False
    bad = tuple(BadRow(input=inputs[at], row=rows[at], reason=problems[at]) for at in sorted(problems))
    return Block(samples[good] if bad else samples, good, inputs, rows, ids, bad)


def leave_out(block: Block, kept: NDArray[np.bool_], *, reason: str) -> Block:
    """Return a block without some of its good rows, which are bad for one reason.

    Args:
        block: the rows.
        kept: which of its good rows stay, one value for each of them.
        reason: what is wrong with the others.
    """
    if kept.all():
        return block
    known = dict(zip(np.flatnonzero(~block.good).tolist(), block.bad, strict=True))
    out = np.flatnonzero(block.good)[~kept].tolist()
    bad = known | {at: BadRow(input=block.inputs[at], row=block.rows[at], reason=reason) for at in out}
    good = block.good.copy()
    good[out] = False
    return block._replace(samples=block.samples[kept], good=good, bad=tuple(bad[at] for at in sorted(bad)))
