"""Time calls in interleaved rounds, and turn the times into ratios with intervals."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_ROUNDS = 5
"""Fewer give no interval worth the name."""

_NUM_RESAMPLES = 2000
_SETTLING_CALLS = 1
_CHECK_EVERY = 10
"""Rounds between two looks at whether the ratios are known."""


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


class Plan(NamedTuple):
    """How much to time."""

    rounds: int
    """Rounds at most."""
    calls: int
    """Timed calls of each contender in one round."""
    max_seconds: float
    """No round starts after this, but for the first five."""
    extra_rounds: int = 0
    """Rounds more at most, while the ratios are not known well enough."""
    tolerance: float = 0.0
    """Half the width of a ratio's interval that is narrow enough, as a share of the ratio."""


def time_rounds(
    contenders: Sequence[Callable[[], object]],
    plan: Plan,
    *,
    generator: np.random.Generator,
    clock: Callable[[], int] = time.perf_counter_ns,
    on_round: Callable[[int], None] = lambda done: None,
) -> NDArray[np.int64]:
    """Return (rounds, contenders, calls) int64 nanoseconds of every call, each above 0.

    Every round runs all contenders, one after the other, in an order drawn anew, so that a slow spell of
    the machine or a warm neighbour falls on each alike. The first call of a contender in a round, which
    finds the caches full of the neighbour's data, is not counted. Garbage collection waits.
    """
    start = clock()
    rounds: list[NDArray[np.int64]] = []
    with _garbage_kept():
        while len(rounds) < plan.rounds + plan.extra_rounds:
            if len(rounds) >= MIN_ROUNDS and clock() - start > plan.max_seconds * 1e9:
                break
            done = len(rounds) - plan.rounds
            if done >= 0 and done % _CHECK_EVERY == 0 and _is_known(rounds, plan.tolerance):
                break
            times = np.empty((len(contenders), plan.calls), dtype=np.int64)
            for index in generator.permutation(len(contenders)):
                times[index] = _time_calls(contenders[index], plan.calls, clock)
            rounds.append(times)
            on_round(len(rounds))
    return np.stack(rounds)


def _is_known(rounds: Sequence[NDArray[np.int64]], tolerance: float) -> bool:
    """Return whether the ratio of every contender to the first is known to a tolerance.

    By the ranks around the median that hold the true one in 95 % (the sign test turned round), which is quick.
    """
    least = np.stack(rounds).min(axis=2)
    ratios = np.sort(least[:, 1:] / least[:, :1], axis=0)
    reach = int(np.ceil(0.98 * np.sqrt(len(ratios))))
    middle = len(ratios) // 2
    low, high = ratios[max(0, middle - reach)], ratios[min(len(ratios) - 1, middle + reach)]
    return bool(((high - low) / 2 <= tolerance * ratios[middle]).all())


def widen(interval: Interval, noise: Interval, *, floor: float) -> tuple[float, float]:
    """Return the ends of a ratio's interval, moved out by as much as the reference strays from itself.

    Args:
        interval: of the ratio.
        noise: of the ratio of the reference to itself.
        floor: share that is taken as noise at least.
    """
    factor = max(noise.high, 1 / noise.low, 1 + floor)
    return interval.low / factor, interval.high * factor


def ratio(
    times: NDArray[np.int64], reference: NDArray[np.int64], *, generator: np.random.Generator
) -> Interval:
    """Return the median over rounds of one contender's time divided by the reference's in the same round.

    A round's time is the least of its calls: what else runs on the machine only ever adds to a call, and to a long
    one more often than to a short one, so that means and medians change with the load (Chen and Revels, Robust
    benchmarking in noisy environments, 2016).

    Args:
        times: (rounds, calls) of the contender.
        reference: (rounds, calls) of the reference.
        generator: draws the resamples of :func:`median_interval`.
    """
    pairs = times.min(axis=1) / reference.min(axis=1)
    return median_interval(pairs, generator=generator)


def median_interval(values: NDArray[np.float64], *, generator: np.random.Generator) -> Interval:
    """Return the median of (n,) values with its 95 % percentile-bootstrap interval (Efron, 1979)."""
    rows = generator.integers(0, len(values), size=(_NUM_RESAMPLES, len(values)))
    medians = np.median(values[rows], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    middle = float(np.median(values))
    return Interval(middle, min(float(low), middle), max(float(high), middle))


def _time_calls(call: Callable[[], object], calls: int, clock: Callable[[], int]) -> list[int]:
    for _ in range(_SETTLING_CALLS):
        call()
    times = []
    for _ in range(calls):
        before = clock()
        call()
        # A clock too coarse for the call would give 0, and a ratio with it nonsense.
        times.append(max(1, clock() - before))
    return times


@contextlib.contextmanager
def _garbage_kept() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
