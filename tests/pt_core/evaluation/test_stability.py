"""The same pair judged again and again, with and without a busy neighbour, gets the same verdict."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pt_core.evaluation.efficiency import summarize
from pt_core.evaluation.timing import Plan, time_rounds


def work(size):
    data = np.random.default_rng(0).random((size, size), dtype=np.float32)
    return lambda: np.sort(data, axis=1)


def judge(seed):
    """Time a reference, its double and one that does a third of the work."""
    once, third = work(120), work(60)
    plan = Plan(15, 5, 3.0, extra_rounds=60, tolerance=0.03)
    times = time_rounds([once, once, third], plan, generator=np.random.default_rng(seed))
    reports = summarize(
        ["r", "third"], latency=times, throughput=times, throughput_batch_size=1, noise_floor=0.05
    )
    return tuple(report.comparison for report in reports)


@pytest.mark.parametrize("num_busy", [0, 2])
def test_the_same_pair_gets_the_same_verdict_every_time(num_busy):
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: sum(range(10**5))"]) for _ in range(num_busy)
    ]
    try:
        found = {judge(seed) for seed in range(6)}
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert found == {("too close to tell", "faster")}
