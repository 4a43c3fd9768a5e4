"""The README's table: the digits job in a fresh home folder, then again with everything cached.

    .venv/bin/python benchmarks/digits.py [--pictures docs/images]

Prints the wall time of both runs, the table of variants, and one JSON line last. Speeds are ratios to the
eager FP32 model measured in the same run; wall times depend on the machine, which is printed with them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pt_core.environment import describe_environment

COMMAND = Path(sys.executable).with_name("pt-pipeline")


def timed_run(home: str) -> tuple[float, dict]:
    start = time.perf_counter()
    done = subprocess.run(
        [COMMAND, "run", "--json", "--home", home], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode not in (0, 3):
        raise SystemExit(f"the run ended with exit code {done.returncode}")
    return time.perf_counter() - start, json.loads(done.stdout)


def row(variant: dict) -> str:
    metrics = variant["metrics"]
    low, high = metrics["efficiency/latency_ratio_low"], metrics["efficiency/latency_ratio_high"]
    cells = [
        variant["name"],
        f"{metrics['accuracy/accuracy']:.4f}",
        f"{metrics['robustness/fgsm_0.1']:.4f}",
        f"{metrics['efficiency/latency_ratio']:.2f} ({low:.2f} to {high:.2f})",
        f"{variant['size_bytes'] / 1024:,.0f} KiB",
        f"{metrics.get('quantization/weight_share', 0):.0%}",
        variant["verdict"]["state"],
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=Path, help="also copy the run's accuracy-latency picture here")
    pictures = parser.parse_args().pictures
    with tempfile.TemporaryDirectory() as home:
        fresh_s, document = timed_run(home)
        cached_s, _ = timed_run(home)
        if pictures:
            shutil.copy(Path(document["report"]).with_name("accuracy_latency.png"), pictures)
    machine = describe_environment()
    print(f"{machine.cpu_model}, {machine.num_cpus} cores ({', '.join(machine.cpu_capabilities)})")
    print(f"fresh {fresh_s:.0f} s, again with nothing changed {cached_s:.0f} s\n")
    print("| variant | accuracy | FGSM 0.1 | latency ratio (95 %) | size | INT8 weights | verdict |")
    print("|--|--|--|--|--|--|--|")
    for variant in document["variants"]:
        print(row(variant))
    print(f"\n{document['sentence']}\n")
    figures = {v["name"]: v["metrics"] for v in document["variants"]}
    print(json.dumps({"fresh_s": round(fresh_s, 1), "cached_s": round(cached_s, 1), "variants": figures}))


if __name__ == "__main__":
    main()
