"""Attack by queries alone: the Square attack in the L-infinity ball, against any function that gives logits.

Andriushchenko et al. 2020, https://arxiv.org/abs/1912.00049: a random search that sets a random window of the
image to the edge of the ball and keeps it if the margin of the true class falls. A table has no neighbours:
there a random set of columns stands for the window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.evaluation.attacks.bounds import Bounds, box

Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]

_FIRST_SHARE = 0.8
_HALVED_AFTER = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares of the budget after which the window's area is halved, as in the authors' code."""


class SquareResult(NamedTuple):
    """What the search found."""

    x: NDArray[np.float32]
    """(N, *input_shape), of each sample the candidate that lowered the margin most, the first one at least; as it was
    where it was wrong from the start."""
    is_right: NDArray[np.bool_]
    """(N,) whether each is still classified as its target."""
    num_queries: int
    """Samples sent through the model, over all samples together."""


def square(
    logits: Logits,
    x: NDArray[np.float32],
    targets: NDArray[np.int64],
    *,
    epsilon: float,
    max_queries: int,
    bounds: Bounds,
    seed: int,
) -> SquareResult:
    """Search until every sample is misclassified or has used its queries.

    A sample that is wrong before the search is left alone. What is drawn for a sample does not depend on
    how the others fare.

    Args:
        logits: (n, *input_shape) float32 -> (n, C) float32.
        x: (N, *input_shape) float32, small enough to be held several times.
        targets: (N,) int64.
        epsilon: radius of the ball in units of ``bounds.scale``.
        max_queries: of each sample, the first one of the clean sample included.
        bounds: scale and range.
        seed: of the search.
    """
    generator = np.random.default_rng((seed, 1))
    least, greatest = box(x, epsilon, bounds)
    best = x.copy()
    margin, is_right = _margin(logits(x), targets)
    num_queries = len(x)
    for query in range(1, max_queries):
        window = _window(x.shape, query, max_queries, generator)
        upward = _signs(x.shape, query, generator)
        active = np.flatnonzero(is_right)
        if not len(active):
            break
        edges = np.where(upward[active], greatest[active], least[active])
        candidates = np.where(window[active], edges, best[active])
        found, still_right = _margin(_ask(logits, candidates), targets[active])
        num_queries += len(active)
        better = (found < margin[active]) | ~still_right | (query == 1)
        kept = active[better]
        best[kept], margin[kept], is_right[kept] = candidates[better], found[better], still_right[better]
    return SquareResult(best, is_right, num_queries)


def _window(
    shape: tuple[int, ...], query: int, max_queries: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Return which values of each sample are set anew; the first time all are."""
    share = _FIRST_SHARE / 2 ** sum(query > after * max_queries for after in _HALVED_AFTER)
    if query == 1:
        return np.ones((shape[0], *(1,) * (len(shape) - 1)), dtype=bool)
    if len(shape) == 4:
        return _square_window(shape, share, generator.random((shape[0], 2)))
    size = int(np.prod(shape[1:]))
    rank = generator.random((shape[0], size)).argsort(axis=1).argsort(axis=1)
    return np.asarray(rank < max(1, round(share * size)), dtype=bool).reshape(shape)


def _square_window(shape: tuple[int, ...], share: float, places: NDArray[np.float64]) -> NDArray[np.bool_]:
    height, width = shape[2:]
    side = min(max(1, round((share * height * width) ** 0.5)), height, width)
    rows, columns = (
        (np.arange(length) >= start[:, None]) & (np.arange(length) < start[:, None] + side)
        for length, start in (
            (height, np.floor(places[:, 0] * (height - side + 1))),
            (width, np.floor(places[:, 1] * (width - side + 1))),
        )
    )
    return np.asarray(rows[:, None, :, None] & columns[:, None, None, :], dtype=bool)


def _signs(shape: tuple[int, ...], query: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return whether each value goes up: stripes of the image at first, then one sign for a window's channel."""
    if len(shape) != 4:
        return generator.random(shape) < 0.5
    stripes = (shape[0], shape[1], 1, shape[3] if query == 1 else 1)
    return generator.random(stripes) < 0.5


def _ask(logits: Logits, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits; the batch is filled up to a power of two, since some runtimes prepare for every size."""
    filled = np.resize(np.arange(len(batch)), 1 << (len(batch) - 1).bit_length())
    return logits(batch[filled])[: len(batch)]


def _margin(
    logits: NDArray[np.float32], targets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the true logit less the greatest other, and whether the true class is the predicted one."""
    wide = np.asarray(logits, dtype=np.float64)
    rows = np.arange(len(wide))
    true = wide[rows, targets]
    others = wide.copy()
    others[rows, targets] = -np.inf
    return true - others.max(axis=1), logits.argmax(axis=1) == targets
