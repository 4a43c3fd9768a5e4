"""Judge the speed of the same artifacts again and again, half of the time on a loaded machine: do verdicts change?

    .venv/bin/python benchmarks/verdict_stability.py [--repeats 20] [--max-seconds 20]

The digits CNN as TorchScript and as ONNX, each timed against eager PyTorch by the pipeline's own measurement, in a
fresh process per repeat; beside every second one a process computes without pause on each core. Prints each repeat's
ratios with the interval that rules are decided by, and what two rules say: "no slower than the reference" and "at most
1.4 times its time". The reference against itself is the control: it must be "too close to tell". Last, how many of 2,001
limits from half to double the ratio get different verdicts in different repeats, where an end of the interval moves
across them; and whether any limit is both kept and broken. One JSON line last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from subjects import digits_cnn

from pt_core.artifacts.artifact import Artifact, Step
from pt_core.building.build import StepRequest, checkpoint_source, run_step
from pt_core.decision.config import GateConfig, GateRule
from pt_core.decision.evidence import Baseline
from pt_core.decision.gate import judge
from pt_core.environment import describe_environment, num_cpus
from pt_core.evaluation.config import EfficiencyConfig
from pt_core.evaluation.report import EfficiencyReport
from pt_core.evaluation.requests import EfficiencyReports, EfficiencyRequest
from pt_core.isolation import run_isolated
from pt_core.limits import Limits

METRIC = "efficiency/latency_ratio"
LIMITS = (1.0, 1.4)
NUM_LIMITS = 2001
NAMES = ("torch", "torchscript", "onnx")


@contextlib.contextmanager
def load(cores: int) -> Iterator[None]:
    """Keep so many cores busy with another process each."""
    workers = [
        subprocess.Popen([sys.executable, "-c", "while True: sum(range(10**5))"]) for _ in range(cores)
    ]
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def state(report: EfficiencyReport, limit: float) -> str:
    """Return what the gate says of a limit on the ratio."""
    verdict = judge(
        variant="variant",
        artifact_digest=report.artifact_digest,
        metrics={METRIC: report.latency_ratio},
        reference=Baseline("torch", {METRIC: 1.0}),
        intervals={METRIC: report.judged_range},
        num_samples=None,
        config=GateConfig(rules=(GateRule(metric=METRIC, at_most=limit),)),
    )
    return verdict.state


def build(store: Path) -> EfficiencyRequest:
    """Build the artifacts."""
    subject = digits_cnn(store)

    def step(name: str, source: Artifact, reference: Artifact | None) -> Artifact:
        request = StepRequest(
            source=source,
            reference=reference,
            step=Step(name=name),
            dataset=subject.dataset,
            store=str(store),
        )
        return run_step(request, limits=Limits(timeout_s=600))

    torch = step("torch", checkpoint_source(subject.checkpoint), None)
    others = tuple(step(name, torch, torch) for name in NAMES[1:])
    return EfficiencyRequest(
        reference=torch, artifacts=others, dataset=subject.dataset, config=EfficiencyConfig()
    )


def repeat(request: EfficiencyRequest) -> tuple[EfficiencyReport, ...]:
    """Time once, in a fresh process."""
    return run_isolated(
        "pt_core.evaluation.efficiency:measure",
        request,
        reply=EfficiencyReports,
        timeout_s=600,
        num_threads=request.config.num_threads,
    ).reports


def main() -> None:
    """Build, judge again and again, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--max-seconds", type=float, default=20, help="time budget of one repeat")
    options = parser.parse_args()
    found: dict[str, list[EfficiencyReport]] = {name: [] for name in NAMES}
    machine = describe_environment()
    print(f"{machine.cpu_model}, {machine.num_cpus} cores")
    seconds = []
    with tempfile.TemporaryDirectory() as store:
        request = build(Path(store))
        config = request.config.model_copy(update={"max_seconds": options.max_seconds})
        request = request.model_copy(update={"config": config})
        for number in range(options.repeats):
            busy = number % 2 * num_cpus()
            start = time.perf_counter()
            with load(busy):
                reports = repeat(request)
            seconds.append(time.perf_counter() - start)
            print(f"{number + 1:2d} {'loaded' if busy else 'quiet ':6s} {seconds[-1]:4.0f} s", end="")
            for name, report in zip(NAMES, reports, strict=True):
                found[name].append(report)
                low, high = report.judged_range
                print(f"  {name} {report.latency_ratio:.3f} ({low:.3f} to {high:.3f})", end="")
            print(f"  {reports[0].num_rounds} rounds", flush=True)
    summary = {name: summarize(reports) for name, reports in found.items()}
    for name, one in summary.items():
        print(f"{name}: {one}")
    is_stable = all(len(states) == 1 for one in summary.values() for states in one["states"].values())
    print(
        json.dumps(
            {"repeats": options.repeats, "seconds": round(sum(seconds)), "stable": is_stable, **summary}
        )
    )


def flicker(reports: list[EfficiencyReport]) -> dict[str, float]:
    """Return the shares of limits around the ratio that are not said the same of in all repeats, by how they differ."""
    middle = float(np.median([report.latency_ratio for report in reports]))
    limits = middle * np.geomspace(0.5, 2, NUM_LIMITS)
    low, high = (np.array(ends)[:, None] for ends in zip(*(r.judged_range for r in reports), strict=True))
    kept, broken = high <= limits, low >= limits
    undecided = ~(kept | broken)
    return {
        "pass or insufficient": float((kept.any(0) & undecided.any(0)).mean()),
        "fail or insufficient": float((broken.any(0) & undecided.any(0)).mean()),
        "pass or fail": float((kept.any(0) & broken.any(0)).mean()),
    }


def summarize(reports: list[EfficiencyReport]) -> dict:
    """Return the spread of the ratio and how often each thing was said."""
    ratios = np.array([report.latency_ratio for report in reports])
    return {
        "ratio": round(float(np.median(ratios)), 4),
        "least": round(float(ratios.min()), 4),
        "greatest": round(float(ratios.max()), 4),
        "comparison": dict(Counter(report.comparison for report in reports)),
        "states": {
            f"at most {limit:g}": dict(Counter(state(report, limit) for report in reports))
            for limit in LIMITS
        },
        "limits that flicker": flicker(reports),
    }


if __name__ == "__main__":
    main()
