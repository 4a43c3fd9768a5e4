"""Paired statistics: two artifacts on the same samples, the drop between them and what this many samples can see."""

from __future__ import annotations

import math
from typing import Literal

from scipy.special import bdtr, ndtri

from pt_core.evaluation.pairs import Pairs
from pt_core.record import Record

CRITICAL = 2.054
"""Normal quantile of every interval here, 2 % on each side.

Newcombe's interval at the usual 1.96 lets a variant whose true drop lies just above the limit pass in up to
2.8 % of runs (benchmarks/paired_drop.py); at 2.054 it covers at least 95 % and that share stays under 2.5 %.
"""

_ALPHA = float(ndtri(1 - 0.05 / 2))
"""Of a two-sided test at 5 %."""
_BETA = float(ndtri(0.8))
"""Of a power of 80 %."""


class PairedDrop(Record):
    """The drop of one metric against another artifact, on the same samples."""

    metric: str
    """Flat metric name, e.g. ``accuracy/accuracy``."""
    against: str
    """Name of what it is compared with."""
    method: Literal["newcombe", "bootstrap", "same artifact"]
    """Where the interval comes from: :func:`drop_interval`, :mod:`pt_core.decision.bootstrap`, or nowhere, since
    the two are one artifact and differ on no sample that there will ever be."""
    num_samples: int
    """Samples it rests on."""
    pairs: Pairs | None
    """The counts, of a metric that is a share of right samples."""
    drop: float
    """Their metric minus the variant's, absolute; below zero is a gain."""
    low: float
    """Lower end of the interval, 2 % beyond it on each side."""
    high: float
    """Upper end."""
    p_value: float | None
    """Exact McNemar test of no difference, two-sided, where there are counts."""
    detectable_drop: float | None
    """Smallest true drop that this many samples would tell from none, where there are counts; see :func:`detectable_drop`."""


def paired_drop(pairs: Pairs, *, metric: str, against: str) -> PairedDrop:
    """Return everything that the counts say of a drop; ``pairs`` holds at least one sample."""
    low, high = drop_interval(pairs)
    return PairedDrop(
        metric=metric,
        against=against,
        method="newcombe",
        num_samples=pairs.num_samples,
        pairs=pairs,
        drop=pairs.drop,
        low=low,
        high=high,
        p_value=mcnemar(pairs),
        detectable_drop=detectable_drop(pairs),
    )


def wilson(successes: int, num_samples: int, *, critical: float = CRITICAL) -> tuple[float, float]:
    """Return the interval of a share (Wilson 1927, the score interval), each end in 0 to 1."""
    share, square = successes / num_samples, critical**2
    centre = (share + square / (2 * num_samples)) / (1 + square / num_samples)
    spread = share * (1 - share) / num_samples + square / (4 * num_samples**2)
    half = critical * math.sqrt(spread) / (1 + square / num_samples)
    # At shares of 0 and 1 the ends are exact, and rounding would put them beside the share.
    return (0.0 if not successes else centre - half), (1.0 if successes == num_samples else centre + half)


def drop_interval(pairs: Pairs, *, critical: float = CRITICAL) -> tuple[float, float]:
    """Return the interval of the drop: Newcombe 1998 (Statistics in Medicine 17:2635), method 10, paired shares.

    The ends of both Wilson intervals are joined by the correlation of the two artifacts' successes,
    corrected for continuity. The drop always lies inside; with no discordant sample the interval is not
    empty, since the next sample may be one.
    """
    n = pairs.num_samples
    first, second = pairs.both_right + pairs.only_reference_right, pairs.both_right + pairs.only_variant_right
    low1, high1 = wilson(first, n, critical=critical)
    low2, high2 = wilson(second, n, critical=critical)
    below1, above1 = first / n - low1, high1 - first / n
    below2, above2 = second / n - low2, high2 - second / n
    phi = _correlation(pairs)
    down = math.sqrt(max(0.0, below1**2 - 2 * phi * below1 * above2 + above2**2))
    up = math.sqrt(max(0.0, above1**2 - 2 * phi * above1 * below2 + below2**2))
    return max(-1.0, pairs.drop - down), min(1.0, pairs.drop + up)


def mcnemar(pairs: Pairs) -> float:
    """Return the two-sided p-value of the exact McNemar test: the discordant samples are a fair coin's throws."""
    lost, won = pairs.only_reference_right, pairs.only_variant_right
    return min(1.0, 2 * float(bdtr(min(lost, won), lost + won, 0.5))) if lost + won else 1.0


def detectable_drop(pairs: Pairs) -> float:
    """Return the smallest true drop that a test at 5 % would find in 80 % of runs with this many samples.

    Connor 1987 (Biometrics 43:207) solved for the drop, at the share of discordant samples observed here;
    a drop is never above that share, so where few samples are discordant the share is the drop itself.
    """
    n = pairs.num_samples
    discordant = (pairs.only_reference_right + pairs.only_variant_right) / n
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if _needed_samples(middle, max(discordant, middle)) <= n else (middle, high)
    return high


def _needed_samples(drop: float, discordant: float) -> float:
    spread = _ALPHA * math.sqrt(discordant) + _BETA * math.sqrt(discordant - drop**2)
    return (spread / drop) ** 2


def _correlation(pairs: Pairs) -> float:
    """Return the phi coefficient of the table with Newcombe's continuity correction, 0 where it is undefined."""
    a, b, c, d = pairs.both_right, pairs.only_reference_right, pairs.only_variant_right, pairs.both_wrong
    spread = (a + b) * (c + d) * (a + c) * (b + d)
    if not spread:
        return 0.0
    product = a * d - b * c
    corrected = max(product - pairs.num_samples / 2, 0) if product > 0 else product
    return corrected / math.sqrt(spread)
