"""What gradient checkpointing saves and costs: peak memory of training steps with it over those without.

    .venv/bin/python benchmarks/gradient_checkpointing.py

Each measurement is a fresh process, and the choices take turns. Peak memory is the kernel's own (VmHWM of
/proc/self/status): how far it rises above what the process holds once the network, its optimizer and one small step
are done, over training steps on the CPU in FP32. Without checkpointing the process allocates as it does by default;
with it, once by default too and once as the pipeline starts such a training (pt_core/modeling/allocation.py), since
glibc's heap keeps freed pieces of many sizes in its own hands. The loss and the gradients of the last step are
compared to the bit.

Prints a table and one JSON line last; leaves with 1 where a claim does not hold: the same bits, and, as the pipeline
trains, at most 0.7 of the process's memory for every network and 0.4 for the ResNet-18 and the transformer.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from pt_core.environment import describe_environment
from pt_core.evaluation.memory import mark_peak, peak_growth
from pt_core.modeling.allocation import allocation_environment
from pt_core.modeling.cnn import cnn
from pt_core.modeling.memory import saving_memory
from pt_core.modeling.resnet import resnet18

REPEATS = 2
STEPS = 2
BATCH = 64
SIDE = 48
WIDTH = 192
ALLOCATIONS = {"default": {}, "pipeline": dict(allocation_environment(True))}
"""How the process with checkpointing allocates, by the variables that its C library reads."""
CLAIMS = {("cnn", "pipeline"): 0.7, ("resnet18", "pipeline"): 0.4, ("transformer", "pipeline"): 0.4}
"""Greatest share of the memory without checkpointing, by network and allocation."""


class Transformer(nn.Module):
    """Twelve encoder layers over the rows of an image, which no container holds but a list."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * SIDE, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.1, batch_first=True) for _ in range(12)
        )
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = self.embed(x.permute(0, 2, 1, 3).flatten(2))
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(dim=1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "cnn": lambda: cnn((3, SIDE, SIDE), 10, width=64),
    "resnet18": lambda: resnet18((3, SIDE, SIDE), 10, width=32),
    "transformer": Transformer,
}
CHOICES: dict[str, dict[str, bool | list[str]]] = {
    "cnn": {"false": False, "true": True},
    "resnet18": {"false": False, "true": True},
    "transformer": {"false": False, "[layers.*]": ["layers.*"]},
}


def measure(network_name: str, choice: str) -> dict[str, float | int | str]:
    """Train a few steps in this process; return its peak growth in bytes, seconds a step and a digest of gradients."""
    torch.manual_seed(0)
    network = NETWORKS[network_name]().train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.rand(BATCH, 3, SIDE, SIDE), torch.arange(BATCH) % 10
    # One step on two samples: what the first step of all allocates for good is no activation.
    step(network, optimizer, x[:2], y[:2])
    before = mark_peak()
    times = []
    with saving_memory(network, CHOICES[network_name][choice]) as num_modules:
        for _ in range(STEPS):
            start = time.perf_counter()
            loss = step(network, optimizer, x, y)
            times.append(time.perf_counter() - start)
    digest = hashlib.sha256()
    for parameter in network.parameters():
        assert parameter.grad is not None
        digest.update(parameter.grad.numpy().tobytes())
    growth = peak_growth(before)
    if growth is None:
        raise SystemExit("the kernel does not tell the peak memory of a process here; Linux does")
    return {
        "bytes": growth,
        "step_s": statistics.median(times),
        "num_modules": num_modules,
        "loss": loss,
        "gradients": digest.hexdigest(),
    }


def step(network: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    optimizer.zero_grad(set_to_none=True)
    loss = nn.functional.cross_entropy(network(x), y)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def child(network_name: str, choice: str, environment: dict[str, str]) -> dict:
    done = subprocess.run(
        [sys.executable, __file__, network_name, choice],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return json.loads(done.stdout)


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(measure(*sys.argv[1:])))
        return
    found: dict[tuple[str, str], list[list[dict]]] = {}
    for _ in range(REPEATS):
        for name, (without, with_) in CHOICES.items():
            plain = child(name, without, {})
            for allocation, environment in ALLOCATIONS.items():
                found.setdefault((name, allocation), []).append([plain, child(name, with_, environment)])
    machine = describe_environment()
    print(f"{machine.cpu_model}, {machine.num_cpus} cores, torch {torch.__version__}")
    print(
        f"batches of {BATCH} images of 3x{SIDE}x{SIDE}, FP32 on the CPU, medians of {REPEATS} processes each\n"
    )
    print(
        "| network | allocation | modules recomputed | peak without | peak with | ratio | step time ratio | same bits |"
    )
    print("|--|--|--|--|--|--|--|--|")
    rows = [row(name, allocation, pairs) for (name, allocation), pairs in found.items()]
    print(json.dumps(rows))
    broken = [one for one in rows if not one["holds"]]
    raise SystemExit(f"a claim does not hold: {broken}" if broken else 0)


def row(name: str, allocation: str, pairs: list[list[dict]]) -> dict[str, float | bool | str]:
    without, with_ = (statistics.median(pair[i]["bytes"] for pair in pairs) for i in (0, 1))
    slower = statistics.median(saving["step_s"] / plain["step_s"] for plain, saving in pairs)
    same = len({(one["loss"], one["gradients"]) for pair in pairs for one in pair}) == 1
    print(
        f"| {name} | {allocation} | {pairs[0][1]['num_modules']} | {without / 2**20:.0f} MiB | {with_ / 2**20:.0f} MiB "
        f"| {with_ / without:.2f} | {slower:.2f} | {'yes' if same else 'no'} |"
    )
    ratio = with_ / without
    return {
        "network": name,
        "allocation": allocation,
        "plain_bytes": without,
        "saving_bytes": with_,
        "memory_ratio": round(ratio, 3),
        "step_time_ratio": round(slower, 3),
        "same_bits": same,
        "holds": same and ratio <= CLAIMS.get((name, allocation), math.inf),
    }


if __name__ == "__main__":
    main()
