"""Scoring: rows per second and peak memory from 100,000 to a million rows of a small table.

    .venv/bin/python benchmarks/scoring.py [--rows 100000 250000 1000000] [--write benchmarks/results/scoring.md]

One network of two layers, as ONNX in ONNX Runtime; its rows are six numbers and two categories, raw as CSV and as
Parquet, and the 13 numbers that they are encoded to as .npy. Each scoring has a process of its own, which scores a
thousand rows first, so that what grows is due to the rows and not to libraries being loaded; its memory, without
pages of mapped files, is sampled every 5 ms. It prints a table and one
JSON line, and fails where memory grows with the number of rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from subjects import untrained

from pt_core.artifacts.artifact import Artifact, Step
from pt_core.artifacts.checkpoint_files import save_checkpoint
from pt_core.building.build import StepRequest, checkpoint_source, run_step
from pt_core.data.config import DataConfig
from pt_core.data.encoding import ColumnEncoding, TableEncoding
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.environment import describe_environment
from pt_core.limits import Limits
from pt_core.modeling.network import build_network
from pt_core.modeling.spec import ModelSpec
from pt_core.scoring.requests import ScoreRequest
from pt_core.scoring.score import score

SEED = 0
TOWNS, SIZES = ("Bonn", "Essen", "Köln", "Ulm"), ("l", "m", "s")
NUMBERS = tuple(f"n{number}" for number in range(6))
ENCODING = TableEncoding(
    columns=(
        *(ColumnEncoding(name=name, kind="numeric") for name in NUMBERS),
        ColumnEncoding(name="town", kind="categorical", categories=TOWNS),
        ColumnEncoding(name="size", kind="categorical", categories=SIZES),
    )
)
NUM_INPUTS, LABELS = len(ENCODING.outputs), ("a", "b", "c", "d")
WARM_UP = 1_000
ALLOWED_GROWTH_BYTES = 32 * 2**20
"""How much more the most rows may take than the second most: the allocators' own ups and downs.

Below about 200,000 rows of this table the output is a part or two, and buffers that are reused later are made once.
"""


def artifact(store: Path) -> Artifact:
    """Return a network of two layers that nobody trained, as ONNX."""
    generator = np.random.default_rng(SEED)
    x = generator.normal(size=(400, NUM_INPUTS)).astype(np.float32)
    np.savez(store / "x.npz", x=x, y=np.arange(400) % len(LABELS))
    config = DataConfig(source="arrays", path="x.npz", labels=LABELS)
    dataset = prepare(
        PrepareRequest(config=config, seed=SEED, base_dir=str(store), source_sha256=None, store=str(store))
    )
    spec = ModelSpec(
        target="pt_core.modeling.mlp:mlp",
        arguments={"input_shape": [NUM_INPUTS], "num_classes": len(LABELS), "hidden": [64]},
        input_shape=(NUM_INPUTS,),
        num_classes=len(LABELS),
        mean=dataset.mean,
        std=dataset.std,
        input_range=None,
        table=ENCODING,
    )
    torch.manual_seed(SEED)
    network = build_network(spec)
    info = untrained(network, spec, dataset)
    made = save_checkpoint(
        store, info=info, network=network, training_state={"epoch": 0}, golden_inputs=torch.from_numpy(x[:8])
    )
    source, reference = checkpoint_source(made), None
    for name in ("torch", "onnx"):
        request = StepRequest(
            source=source, reference=reference, step=Step(name=name), dataset=dataset, store=str(store)
        )
        source = run_step(request, limits=Limits(timeout_s=600))
        reference = reference or source
    return source


def write_rows(path: Path, num_rows: int) -> None:
    """Write a table of random rows as the file's suffix says."""
    generator = np.random.default_rng(num_rows)
    if path.suffix == ".npy":
        np.save(path, generator.normal(size=(num_rows, NUM_INPUTS)).astype(np.float32))
        return
    columns = {name: generator.normal(size=num_rows).astype(np.float32) for name in NUMBERS}
    columns["town"] = np.array(TOWNS)[generator.integers(0, len(TOWNS), num_rows)]
    columns["size"] = np.array(SIZES)[generator.integers(0, len(SIZES), num_rows)]
    table = pa.table(columns)
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        # One group of rows, the worst case for a reader that takes whole groups.
        pq.write_table(table, path, row_group_size=num_rows)


def measure(made: Artifact, source: Path, warm_up: Path) -> dict[str, float]:
    """Score in this process; return rows per second, and how far memory rose above its level before."""

    def scored(path: Path) -> float:
        request = ScoreRequest(
            artifact=made, source=str(path), output=f"{path}.scores.parquet", overwrite=True
        )
        return score(request).rows_per_second or 0.0

    scored(warm_up)
    before = memory_bytes()
    samples = [before]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            samples.append(memory_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        rate = scored(source)
    finally:
        done.set()
        watcher.join()
    return {"rows_per_s": rate, "growth_bytes": max(samples) - before}


def memory_bytes() -> int:
    """Return this process's own memory; pages of mapped files are the kernel's to drop, as in the product's limits."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))


def in_a_process_of_its_own(made: Artifact, source: Path, warm_up: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", made.to_json(), str(source), str(warm_up)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def table(found: list[dict[str, float | str]]) -> str:
    lines = ["| input | rows | rows/s | memory above its level before |", "|--|--|--|--|"]
    for one in found:
        size = f"{float(one['growth_bytes']) / 2**20:.0f} MiB"
        lines.append(f"| {one['input']} | {one['rows']:,} | {one['rows_per_s']:,.0f} | {size} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs=3, default=[100_000, 250_000, 1_000_000])
    parser.add_argument("--write", type=Path, help="also keep the table in this file")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        made, source, warm_up = options.measure
        print(json.dumps(measure(Artifact.from_json(made), Path(source), Path(warm_up))))
        return
    found: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as folder:
        made = artifact(Path(folder))
        for suffix in (".csv", ".parquet", ".npy"):
            warm_up = Path(folder) / f"warm-up{suffix}"
            write_rows(warm_up, WARM_UP)
            for rows in options.rows:
                source = Path(folder) / f"{rows}{suffix}"
                write_rows(source, rows)
                measured = in_a_process_of_its_own(made, source, warm_up)
                found.append({"input": suffix, "rows": rows, **measured})
                source.unlink()
    machine = describe_environment()
    text = f"{machine.cpu_model}, {machine.num_cpus} cores\n\n{table(found)}"
    print(text)
    if options.write:
        options.write.write_text(f"# Scoring a small table, by `benchmarks/scoring.py`\n\n{text}\n")
    print(json.dumps({"scoring": found}))
    pairs = zip(found[1::3], found[2::3], strict=True)
    grown = [
        b for a, b in pairs if float(b["growth_bytes"]) - float(a["growth_bytes"]) > ALLOWED_GROWTH_BYTES
    ]
    if grown:
        raise SystemExit(f"memory grows with the number of rows: {grown}")


if __name__ == "__main__":
    main()
