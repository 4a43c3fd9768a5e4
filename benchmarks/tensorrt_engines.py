"""TensorRT engines of two networks in three precisions: what they cost to build and, on a GPU, how fast they are.

    .venv/bin/python benchmarks/tensorrt_engines.py [--network resnet18|digits|both] [--rounds 15]

Nothing is trained. A ResNet-18 at 224x224 and the digits CNN become ONNX in FP32, FP16 and INT8, and each of
these an engine. Prints the build time of each engine alone, and its size beside that of its ONNX. With an NVIDIA
GPU it also prints how many times as fast as eager FP32 on the same GPU each engine is at batch 1 and 8, copies
included, and how often it predicts the same class; without one, the reason why there is no such number. Keeps the
table in benchmarks/results/tensorrt-<card>.md and prints one JSON line last.

It is not called tensorrt.py because that would stand in for the library of this name when run as a script.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from subjects import Subject, digits_cnn, resnet18

from pt_core.artifacts.artifact import Artifact, Step
from pt_core.building.build import StepRequest, checkpoint_source, run_step
from pt_core.data.dataset import load_split
from pt_core.environment import describe_environment
from pt_core.evaluation.timing import Interval, Plan, ratio, time_rounds
from pt_core.formats.tensorrt_ import TensorRTFormat
from pt_core.formats.tensorrt_library import find_gpu
from pt_core.formats.tensorrt_passport import read_passport
from pt_core.inference.predictor import load_predictor
from pt_core.limits import Limits

BATCH_SIZES = (1, 8)
LIMITS = Limits(timeout_s=1200)
PRECISIONS: dict[str, tuple[Step, ...]] = {
    "fp32": (),
    "fp16": (Step(name="onnx-fp16"),),
    "int8": (Step(name="onnx-int8-static", options={"runtime": "tensorrt"}),),
}


class Row(NamedTuple):
    """One engine."""

    network: str
    precision: str
    targets: str
    build_s: float
    onnx_bytes: int
    engine_bytes: int
    speedups: dict[int, Interval]
    agreement: float | None


def run(
    subject: Subject, source: Artifact | None, step: Step, root: Artifact | None, store: Path
) -> Artifact:
    request = StepRequest(
        source=source or checkpoint_source(subject.checkpoint),
        reference=root,
        step=step,
        # Without samples parity is checked on the golden inputs, which is enough here; calibration needs them.
        dataset=subject.dataset if step.name == "onnx-int8-static" else None,
        store=str(store),
    )
    return run_step(request, limits=LIMITS)


def rows_of(subject: Subject, store: Path, plan: Plan) -> tuple[list[Row], str | None]:
    """Return a row per precision, and why none of them was timed, if so."""
    root = run(subject, None, Step(name="torch"), None, store)
    graph = run(subject, root, Step(name="onnx"), root, store)
    rows, reason = [], None
    for precision, steps in PRECISIONS.items():
        source = graph
        for step in steps:
            source = run(subject, source, step, root, store)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            TensorRTFormat().convert(source, Path(folder))
            build_s = time.perf_counter() - start
        engine = run(subject, source, Step(name="tensorrt"), root, store)
        reason = engine.not_run
        passport = read_passport(engine)
        speedups, agreement = ({}, None) if reason else measure(root, engine, subject, plan)
        rows.append(
            Row(
                subject.name,
                precision,
                passport.architectures,
                build_s,
                source.payload_bytes,
                passport.engine_bytes,
                speedups,
                agreement,
            )
        )
    return rows, reason


def measure(
    root: Artifact, engine: Artifact, subject: Subject, plan: Plan
) -> tuple[dict[int, Interval], float]:
    """Return the speed of an engine over eager FP32 on the same GPU, and the share of equal classes."""
    eager, fast = load_predictor(root, device="cuda"), load_predictor(engine, device="cuda")
    x = np.array(load_split(subject.dataset, "test").x)
    speedups = {}
    for size in BATCH_SIZES:
        batch = np.ascontiguousarray(x[:size])
        contenders = [functools.partial(predictor.logits, batch) for predictor in (eager, fast)]
        times = time_rounds(contenders, plan, generator=np.random.default_rng(0))
        speedups[size] = ratio(times[:, 0], times[:, 1], generator=np.random.default_rng(0))
    same = [
        (eager.logits(x[i : i + 8]).argmax(axis=1) == fast.logits(x[i : i + 8]).argmax(axis=1))
        for i in range(0, len(x), 8)
    ]
    return speedups, float(np.concatenate(same).mean())


def table(rows: list[Row]) -> list[str]:
    lines = [
        "| network | precision | built for | build | ONNX | engine | batch 1 | batch 8 | same class |",
        "|--|--|--|--|--|--|--|--|--|",
    ]
    for row in rows:
        speeds = [row.speedups.get(size) for size in BATCH_SIZES]
        cells = [
            row.network,
            row.precision,
            row.targets,
            f"{row.build_s:.2f} s",
            f"{row.onnx_bytes / 1e6:.2f} MB",
            f"{row.engine_bytes / 1e6:.2f} MB",
            *(f"{s.value:.2f} ({s.low:.2f} to {s.high:.2f})" if s else "-" for s in speeds),
            "-" if row.agreement is None else f"{row.agreement:.1%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", choices=("resnet18", "digits", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=20, help="timed calls of a contender in a round")
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    missing = TensorRTFormat().unavailable()
    if missing:
        raise SystemExit(f"tensorrt: {missing}")
    makers = {"resnet18": resnet18, "digits": digits_cnn}
    rows: list[Row] = []
    reason = None
    for name in [name for name in makers if arguments.network in (name, "both")]:
        with tempfile.TemporaryDirectory() as store:
            subject = makers[name](Path(store))
            found, reason = rows_of(subject, Path(store), Plan(arguments.rounds, arguments.calls, 60))
        rows += found
    gpu, here = find_gpu(), describe_environment()
    card = f"{gpu.name}, compute capability {gpu.capability}" if gpu else "no NVIDIA GPU"
    versions = ", ".join(f"{library.name} {library.version}" for library in here.libraries)
    lines = [
        "# TensorRT engines",
        "",
        f"{card}; {here.cpu_model}, {here.num_cpus} cores; {versions}; {datetime.now(UTC):%Y-%m-%d}.",
        "Speeds are multiples of eager FP32 on the same GPU, copies included, with a 95 % interval.",
        "",
        *table(rows),
        "",
        *([f"Not measured: {reason}."] if reason else []),
    ]
    print("\n".join(lines))
    arguments.results.mkdir(exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", (gpu.name if gpu else "no-gpu").lower())
    (arguments.results / f"tensorrt-{slug}.md").write_text("\n".join(lines).rstrip() + "\n")
    figures: list[dict[str, Any]] = [
        {
            "network": row.network,
            "precision": row.precision,
            "build_s": round(row.build_s, 3),
            "engine_bytes": row.engine_bytes,
            "speedups": {f"batch_{size}": round(speed.value, 2) for size, speed in row.speedups.items()},
        }
        for row in rows
    ]
    print(json.dumps({"card": card, "not_measured": reason, "engines": figures}))


if __name__ == "__main__":
    main()
