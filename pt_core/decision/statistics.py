"""Paired statistics: two artifacts on the same samples, the drop between them and what this many samples can see."""

from __future__ import annotations

import math
from typing import Literal

from scipy.special import bdtr, ndtri

from pt_core.evaluation.pairs import Pairs
from pt_core.record import Record

CRITICAL = 2.10
"""Normal quantile of every interval here, 1.8 % on each side.

In benchmarks/paired_drop.py, 12 truths at accuracies from 0.3 to 0.99 and 6 sample sizes from 100 to 10,000 with
10,000 simulated pairs each, the interval of a drop then covers the truth in 96.1 % of pairs or more, and a variant
whose true drop lies just above the limit passes in 1.9 % or fewer.
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
    method: Literal["newcombe-tango", "newcombe", "bootstrap", "same artifact"]
    """Where the interval comes from: :func:`drop_interval` (Newcombe's alone in results of earlier versions),
    :mod:`pt_core.decision.bootstrap`, or nowhere, since the two are one artifact and differ on no sample that
    there will ever be."""
    num_samples: int
    """Samples it rests on."""
    pairs: Pairs | None
    """The counts, of a metric that is a share of right samples."""
    drop: float
    """Their metric minus the variant's, absolute; below zero is a gain."""
    low: float
    """Lower end of the interval, with at most 2 % beyond it on each side."""
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
        method="newcombe-tango",
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
    """Return the interval of the drop: on each side the wider end of Newcombe's and Tango's.

    Each of the two is too narrow where the other is not: Newcombe's where accuracy is middling and nearly every
    discordant sample is lost, Tango's where accuracy is high and few are discordant. The drop always lies inside;
    with no discordant sample the interval is not empty, since the next sample may be one.
    """
    ends = (newcombe(pairs, critical=critical), tango(pairs, critical=critical))
    return min(low for low, _ in ends), max(high for _, high in ends)


def newcombe(pairs: Pairs, *, critical: float = CRITICAL) -> tuple[float, float]:
    """Return the interval of Newcombe 1998 (Statistics in Medicine 17:2635), method 10, for paired shares.

    The ends of both Wilson intervals are joined by the correlation of the two artifacts' successes,
    corrected for continuity.
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


def tango(pairs: Pairs, *, critical: float = CRITICAL) -> tuple[float, float]:
    """Return the score interval of Tango 1998 (Statistics in Medicine 17:891) for paired shares.

    It holds every drop whose score, with the spread that is likeliest under that drop, is not beyond ``critical``.
    """
    lost, won, n = pairs.only_reference_right, pairs.only_variant_right, pairs.num_samples
    return -_upper_end(won, lost, n, critical), _upper_end(lost, won, n, critical)


def _upper_end(lost: int, won: int, n: int, critical: float) -> float:
    """Return the drop at which the score, which falls from 0 at the observed drop, reaches -critical."""
    low, high = (lost - won) / n, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if (lost - won - n * middle) ** 2 <= critical**2 * _score_variance(middle, lost, won, n):
            low = middle
        else:
            high = middle
    return high


def _score_variance(drop: float, lost: int, won: int, n: int) -> float:
    """Return the variance of lost - won at the likeliest share of won samples under a true drop."""
    b = (2 * n - lost + won) * drop - lost - won
    c = -won * drop * (1 - drop)
    share = (math.sqrt(max(0.0, b**2 - 8 * n * c)) - b) / (4 * n)
    return n * max(0.0, 2 * share + drop * (1 - drop))


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
