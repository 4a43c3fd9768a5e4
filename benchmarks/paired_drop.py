"""Simulate pairs of artifacts: does the interval of the drop cover the truth, and how often does a bad one pass?

    python benchmarks/paired_drop.py [--pairs 10000] [--seed 0]

For sample sizes from 100 to 10,000, accuracies from 0.3 to 0.99 and true drops from none to five points, draws pairs of artifacts, and
prints how often the interval covers the true drop, its mean width beside that of the exact method, and how often
a variant whose true drop lies just above the gate's limit passes. One JSON line last.
"""

from __future__ import annotations

import argparse
import functools
import json
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from pt_core.decision.statistics import drop_interval
from pt_core.evaluation.pairs import Pairs

SAMPLE_SIZES = (100, 200, 300, 1000, 3000, 10_000)
BEYOND = 1e-3
"""How far, as a share of the limit, a bad variant's true drop lies above the limit."""


class Truth(NamedTuple):
    """What is true of a pair of artifacts."""

    accuracy: float
    """Of the reference."""
    drop: float
    """Of the variant, against it."""
    discordant: float
    """Share of samples on which just one of them is right."""


TRUTHS = (
    Truth(0.98, 0.0, 0.005),
    Truth(0.98, 0.01, 0.02),
    Truth(0.95, 0.02, 0.06),
    Truth(0.90, 0.0, 0.04),
    Truth(0.90, 0.03, 0.05),
    Truth(0.80, 0.05, 0.15),
    Truth(0.99, 0.01, 0.012),
    Truth(0.90, 0.03, 0.031),
    Truth(0.70, 0.02, 0.02),
    Truth(0.50, 0.02, 0.02),
    Truth(0.30, 0.02, 0.02),
    Truth(0.50, 0.05, 0.05),
)


def exact_interval(pairs: Pairs) -> tuple[float, float]:
    """Return an interval that covers by construction: Clopper-Pearson of both discordant shares, Bonferroni-joined."""
    low, high = zip(
        _clopper_pearson(pairs.only_reference_right, pairs.num_samples),
        _clopper_pearson(pairs.only_variant_right, pairs.num_samples),
        strict=True,
    )
    return low[0] - high[1], high[0] - low[1]


@functools.cache
def _clopper_pearson(successes: int, n: int, alpha: float = 0.025) -> tuple[float, float]:
    low = float(beta.ppf(alpha / 2, successes, n - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - alpha / 2, successes + 1, n - successes)) if successes < n else 1.0
    return low, high


def simulate(truth: Truth, n: int, *, num_pairs: int, generator: np.random.Generator) -> dict[str, float]:
    """Return coverage, widths and the share of passes with the limit a little below the true drop."""
    lost, won = (truth.discordant + truth.drop) / 2, (truth.discordant - truth.drop) / 2
    right = truth.accuracy - lost
    shares = [right, lost, won, max(0.0, 1 - right - lost - won)]
    drawn = generator.multinomial(n, shares, size=num_pairs)
    tables, counts = np.unique(drawn, axis=0, return_counts=True)
    pairs = [
        Pairs(both_right=a, only_reference_right=b, only_variant_right=c, both_wrong=d)
        for a, b, c, d in tables.tolist()
    ]
    ends = np.array([drop_interval(pair) for pair in pairs])
    exact = np.array([exact_interval(pair) for pair in pairs])
    limit = truth.drop * (1 - BEYOND)
    mean = functools.partial(_weighted_mean, weights=counts)
    return {
        "num_samples": n,
        **truth._asdict(),
        "coverage": mean((ends[:, 0] <= truth.drop) & (truth.drop <= ends[:, 1])),
        "mean_width": mean(ends[:, 1] - ends[:, 0]),
        "exact_mean_width": mean(exact[:, 1] - exact[:, 0]),
        # A drop of none exceeds no limit that can be set.
        "wrongly_passed": mean(ends[:, 1] <= limit) if truth.drop else 0.0,
    }


def _weighted_mean(values: NDArray[np.float64 | np.bool_], weights: NDArray[np.int64]) -> float:
    return float(np.average(values, weights=weights))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000, help="pairs of artifacts for each row")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    rows = [
        simulate(truth, n, num_pairs=arguments.pairs, generator=generator)
        for n in SAMPLE_SIZES
        for truth in TRUTHS
    ]
    print(f"{'samples':>8} {'accuracy':>8} {'drop':>6} {'discordant':>10} {'coverage':>8} {'width':>7} "
          f"{'exact':>7} {'wrongly passed':>14}")  # fmt: skip
    for row in rows:
        print(
            f"{row['num_samples']:8} {row['accuracy']:8.2f} {row['drop']:6.3f} {row['discordant']:10.3f} "
            f"{row['coverage']:8.4f} {row['mean_width']:7.4f} {row['exact_mean_width']:7.4f} {row['wrongly_passed']:14.4f}"
        )
    worst = {
        "pairs_per_row": arguments.pairs,
        "min_coverage": min(row["coverage"] for row in rows),
        "max_wrongly_passed": max(row["wrongly_passed"] for row in rows),
        "mean_width_share_of_exact": float(
            np.mean([row["mean_width"] / row["exact_mean_width"] for row in rows])
        ),
    }
    print(json.dumps(worst))


if __name__ == "__main__":
    main()
