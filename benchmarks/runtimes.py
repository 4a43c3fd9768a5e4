"""Every way to ship a network, timed against eager FP32 in one interleaved run; nothing is trained.

    .venv/bin/python benchmarks/runtimes.py [--network resnet18|digits|both] [--rounds 15] [--only openvino ...]

A ResNet-18 at 224x224 and the digits CNN go through every variant that this machine can build. For each: how many
times as fast as eager FP32 at batch 1 and 8 on all cores, with a 95 % interval; how often it predicts the same
class; what its last step cost (conversion, reload and parity check, each in a fresh process with one thread); its
size. What is slower than the fastest OpenVINO variant of the same run is explained by what its own runtime's
profiler says. Prints Markdown, keeps a copy in benchmarks/results if both networks went through every variant on a quiet machine,
and prints one JSON line last. On a processor with AMX the exit code is 1 unless the best INT8 of the ResNet-18 is at least 12 and its best BF16 at least 6 times
as fast as eager FP32 at batch 8.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from kernels import slowest_kernels
from subjects import Subject, digits_cnn, resnet18

from pt_core.artifacts.artifact import Artifact, Step, open_artifact
from pt_core.artifacts.plugin import Predictor, Quantizer, RuntimeInfo
from pt_core.artifacts.registry import make_step, step_names
from pt_core.building.build import StepRequest, checkpoint_source, run_step
from pt_core.building.plan import Plan as StepPlan
from pt_core.building.plan import PlanNode, Variant, make_plan
from pt_core.data.dataset import load_split
from pt_core.environment import cpu_capabilities, describe_environment, num_cpus
from pt_core.errors import PtCoreError
from pt_core.evaluation.timing import Interval, Plan, ratio, time_rounds
from pt_core.inference.predictor import describe_runtime, load_predictor
from pt_core.limits import Limits

BATCH_SIZES = (1, 8)
MIN_SPEEDUP = {"int8": 12.0, "bf16": 6.0}
"""Of the best variant of a precision, on the ResNet-18 at batch 8, where the processor has AMX."""
BF16 = {"precision": "bf16"}
CHAINS: dict[str, list[object]] = {
    "torch": [],
    "fused": ["fused"],
    "bf16": ["bf16"],
    "int8-dynamic": ["int8-dynamic"],
    "torchscript": ["torchscript"],
    "exported": ["exported"],
    "int8-static": ["int8-static"],
    "compiled": ["exported", "compiled"],
    "compiled-bf16": ["bf16", "exported", "compiled"],
    "compiled-int8": ["int8-static", "compiled"],
    "onnx": ["onnx"],
    "onnx-fp16": ["onnx", "onnx-fp16"],
    "onnx-int8-dynamic": ["onnx", "onnx-int8-dynamic"],
    "onnx-int8-static": ["onnx", "onnx-int8-static"],
    "onnx-int8-pt2e": ["int8-static", "onnx"],
    "openvino": ["onnx", "openvino"],
    "openvino-bf16": ["onnx", {"openvino": BF16}],
    "openvino-int8": ["onnx", "openvino", "openvino-int8"],
    "openvino-int8-bf16": ["onnx", "openvino", {"openvino-int8": {"floating_point": "bf16"}}],
    "openvino-int8-pt2e": ["int8-static", "onnx", "openvino"],
    "tensorrt": ["onnx", "tensorrt"],
    "tensorrt-fp16": ["onnx", "onnx-fp16", "tensorrt"],
}
"""The variants, by what they are called; steps that are registered and stand in none get one of their own."""
MAX_NOISE = 1.2
"""Ratio of the ends of the interval of eager FP32 against itself; above it the machine was busy with other work."""
LIMITS = Limits(timeout_s=900)
SETTLING_CALLS = 3


class Built(NamedTuple):
    """A variant that runs here."""

    name: str
    artifact: Artifact
    predictor: Predictor
    step_s: float


class Row(NamedTuple):
    """What was measured of it."""

    built: Built
    runtime: RuntimeInfo
    speedups: dict[int, Interval]
    agreement: float


def chains(only: Sequence[str]) -> dict[str, list[object]]:
    """Return the variants whose steps are all registered, and one for each registered step in none of them."""
    known = set(step_names())
    found = {name: steps for name, steps in CHAINS.items() if {_name(step) for step in steps} <= known}
    used = {_name(step) for steps in found.values() for step in steps}
    for name in step_names():
        plugin = make_step(Step(name=name))
        trains = isinstance(plugin, Quantizer) and plugin.needs == "training"
        if name not in used | {"torch"} and not trains:
            found[name] = list(_chain_to(name))
    return {name: steps for name, steps in found.items() if not only or name in only or name == "torch"}


def _name(step: object) -> str:
    return next(iter(step)) if isinstance(step, dict) else str(step)


def _chain_to(name: str) -> tuple[str, ...]:
    return () if name == "torch" else (*_chain_to(make_step(Step(name=name)).sources[0]), name)


def build(subject: Subject, plan: StepPlan, store: Path) -> tuple[list[Built], dict[str, str]]:
    """Return the variants that run here, and why the others do not; what is in the store already is not built."""
    nodes: dict[str, Node] = {}
    for node in plan.nodes:
        nodes[node.key] = _read(node, store) or _run(node, subject, nodes, store)
        note(f"{node.key}: {nodes[node.key].step_s:.1f} s {nodes[node.key].reason[:200]}")
    built, reasons = [], {}
    for variant in plan.variants:
        made = nodes[variant.node]
        if made.artifact is None or made.reason:
            reasons[variant.name] = made.reason
            continue
        try:
            predictor = load_predictor(made.artifact)
        except PtCoreError as error:
            reasons[variant.name] = f"does not load: {error.message}"
        else:
            built.append(Built(variant.name, made.artifact, predictor, made.step_s))
    return built, reasons


class Node(NamedTuple):
    """A step that was run, or why not."""

    artifact: Artifact | None
    step_s: float
    reason: str


def _run(node: PlanNode, subject: Subject, earlier: dict[str, Node], store: Path) -> Node:
    parent = earlier.get(node.parent or "")
    if node.unavailable or (parent is not None and parent.artifact is None):
        return Node(None, 0, node.unavailable or parent.reason)
    request = StepRequest(
        source=parent.artifact if parent else checkpoint_source(subject.checkpoint),
        reference=earlier["torch"].artifact if parent else None,
        step=node.step,
        dataset=subject.dataset,
        store=str(store),
    )
    start = time.perf_counter()
    try:
        artifact = run_step(request, limits=LIMITS)
    except PtCoreError as error:
        return Node(None, time.perf_counter() - start, f"{node.step.name}: {error.message}")
    seconds = time.perf_counter() - start
    _index(store, node).write_text(json.dumps([artifact.directory, seconds]))
    return Node(artifact, seconds, _not_run(artifact, seconds))


def _read(node: PlanNode, store: Path) -> Node | None:
    if not _index(store, node).exists():
        return None
    directory, seconds = json.loads(_index(store, node).read_text())
    artifact = open_artifact(Path(directory))
    return Node(artifact, seconds, _not_run(artifact, seconds))


def _not_run(artifact: Artifact, seconds: float) -> str:
    return f"built in {seconds:.1f} s, not measured: {artifact.not_run}" if artifact.not_run else ""


def _index(store: Path, node: PlanNode) -> Path:
    return store / f"{node.key.replace('/', '+')}.json"


def measure(built: list[Built], subject: Subject, plan: Plan) -> tuple[list[Row], dict[int, Interval]]:
    """Return one row per variant, and the noise: eager FP32 against itself."""
    x = np.array(load_split(subject.dataset, "test").x)
    classes = [_classes(one.predictor, x) for one in built]
    speedups: list[dict[int, Interval]] = [{} for _ in built]
    noise = {}
    for size in BATCH_SIZES:
        batch = np.ascontiguousarray(x[:size])
        contenders = [functools.partial(one.predictor.logits, batch) for one in (built[0], *built)]
        for contender in contenders * SETTLING_CALLS:
            contender()
        times = time_rounds(contenders, plan, generator=np.random.default_rng(0))
        generator = np.random.default_rng(0)
        noise[size] = ratio(times[:, 0], times[:, 1], generator=generator)
        for index in range(len(built)):
            speedups[index][size] = ratio(times[:, 0], times[:, index + 1], generator=generator)
        note(f"batch {size}: {len(times)} rounds, eager FP32 {np.median(times[:, 0]) / 1e6:.2f} ms")
    rows = [
        Row(one, describe_runtime(one.predictor), speedups[i], float((classes[i] == classes[0]).mean()))
        for i, one in enumerate(built)
    ]
    return rows, noise


def _classes(predictor: Predictor, x: np.ndarray) -> np.ndarray:
    parts = [predictor.logits(x[i : i + 8]).argmax(axis=1) for i in range(0, len(x), 8)]
    return np.concatenate(parts)


def table(rows: list[Row]) -> list[str]:
    """Return the Markdown table."""
    lines = [
        "| variant | precision | batch 1 | batch 8 | same class | last step | size | nodes |",
        "|--|--|--|--|--|--|--|--|",
    ]
    for row in rows:
        built, runtime = row.built, row.runtime
        nodes = [runtime.num_nodes, runtime.num_nodes_optimized]
        cells = [
            built.name,
            built.artifact.precision,
            *(_interval(row.speedups[size]) for size in BATCH_SIZES),
            f"{row.agreement:.1%}",
            f"{built.step_s:.1f} s",
            f"{built.artifact.payload_bytes / 1e6:.2f} MB",
            " to ".join("?" if count is None else str(count) for count in nodes),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _interval(value: Interval) -> str:
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def explain(rows: list[Row], subject: Subject) -> list[str]:
    """Return a line of measured facts for the best OpenVINO variant and for each that is slower, at batch 8."""
    size = BATCH_SIZES[-1]
    openvino = [row for row in rows if row.built.artifact.format == "openvino"]
    if not openvino:
        return []
    best = max(openvino, key=lambda row: row.speedups[size].value)
    target = best.speedups[size].value
    batch = np.array(load_split(subject.dataset, "test").x[:size])
    lines = [f"Batch {size}, beside {best.built.name}, the fastest of OpenVINO:", ""]
    for row in sorted(rows, key=lambda row: -row.speedups[size].value):
        if row.speedups[size].value > target:
            continue
        built, runtime = row.built, row.runtime
        kernels = slowest_kernels(built.artifact, built.predictor, batch)
        lines.append(
            f"- {built.name}, {row.speedups[size].value:.1f} of {target:.1f}: {runtime.provider}, "
            f"{runtime.num_threads} threads; {kernels}"
        )
    return lines


def judge_amx(rows: list[Row]) -> tuple[bool, list[str]]:
    """Return whether the thresholds for a processor with AMX hold, or apply not at all, and a line for each."""
    capabilities = cpu_capabilities()
    passed, lines = True, []
    for precision, limit in MIN_SPEEDUP.items():
        found = [row.speedups[8].value for row in rows if row.built.artifact.precision == precision]
        best = max(found, default=0.0)
        if f"amx_{precision}" not in capabilities:
            verdict = f"not judged, the processor lacks amx_{precision}"
        else:
            passed &= best >= limit
            verdict = "holds" if best >= limit else "MISSED"
        lines.append(
            f"- best {precision} at batch 8: {best:.1f} times eager FP32; at least {limit:g} with AMX: {verdict}"
        )
    return passed, lines


def report(subject: Subject, arguments: argparse.Namespace) -> tuple[list[str], dict[str, Any], bool]:
    """Return the Markdown of one network, its figures, and whether its thresholds hold."""
    with _folder(arguments.store, subject.name) as store:
        variants = [
            Variant.model_validate({"name": n, "steps": s}) for n, s in chains(arguments.only).items()
        ]
        built, reasons = build(subject, make_plan(tuple(variants)), store)
        load = os.getloadavg()[0]
        rows, noise = measure(built, subject, Plan(arguments.rounds, arguments.calls, arguments.seconds))
        passed, thresholds = judge_amx(rows) if "ResNet" in subject.name else (True, [])
        lines = [
            f"## {subject.name}",
            "",
            *table(rows),
            "",
            f"Eager FP32 against itself: {', '.join(f'batch {s} {_interval(n)}' for s, n in noise.items())}. "
            f"Load average before timing: {load:.1f} on {num_cpus()} cores.",
            "",
            *explain(rows, subject),
            "",
            *thresholds,
            *(f"- {name}: {reason}" for name, reason in reasons.items()),
            "",
        ]
    figures = {
        row.built.name: {f"batch_{s}": round(v.value, 2) for s, v in row.speedups.items()} for row in rows
    }
    busy = any(interval.high / interval.low > MAX_NOISE for interval in noise.values())
    summary = {"load": round(load, 1), "busy": busy, "speedups": figures, "not_run": sorted(reasons)}
    return lines, summary, passed


@contextlib.contextmanager
def _folder(parent: Path | None, name: str) -> Iterator[Path]:
    """Give a folder that stays if there is a parent for it, and goes again otherwise."""
    if parent is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    else:
        folder = parent / name.partition(",")[0].replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()


def machine() -> str:
    """Return what the figures were measured on, in one line."""
    here = describe_environment()
    versions = ", ".join(f"{library.name} {library.version}" for library in here.libraries[:6])
    return (
        f"{here.cpu_model}, {here.num_cpus} cores, all used; {', '.join(here.cpu_capabilities)}; "
        f"torch runs {torch.backends.cpu.get_cpu_capability()}; {versions}; {datetime.now(UTC):%Y-%m-%d}"
    )


def note(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", choices=("resnet18", "digits", "both"), default="both")
    parser.add_argument("--only", nargs="*", default=(), help="names of variants")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=5, help="timed calls of a variant in a round")
    parser.add_argument("--seconds", type=float, default=120, help="no round starts later, per batch size")
    parser.add_argument("--store", type=Path, help="keep what is built here, and take what is here as it is")
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    makers = {"resnet18": resnet18, "digits": digits_cnn}
    chosen = [name for name in makers if arguments.network in (name, "both")]
    lines = [
        "# Runtimes",
        "",
        f"{machine()}.",
        "Speeds are multiples of eager FP32, with a 95 % interval.",
        "",
    ]
    figures: dict[str, Any] = {}
    passed = True
    for name in chosen:
        with tempfile.TemporaryDirectory() as store:
            found, figures[name], held = report(makers[name](Path(store)), arguments)
        lines += found
        passed &= held
    text = "\n".join(lines)
    print(text)
    if any(found["busy"] for found in figures.values()):
        note("The machine was too busy; run this again on a quiet one. No copy is kept.")
    elif arguments.only or arguments.network != "both":
        note("Not every variant of both networks was timed. No copy is kept.")
    else:
        arguments.results.mkdir(exist_ok=True)
        (arguments.results / "runtimes.md").write_text(text.rstrip() + "\n")
    print(json.dumps(figures))
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
