"""How fast training is: ours against the loop by hand, Lightning, Accelerate, skorch and Ignite, in one run.

    .venv/bin/python -m pip install -c constraints.txt -e '.[bench]'
    .venv/bin/python benchmarks/training.py [--rounds 10] [--device cuda] [--work digits resnet18]
        [--leave-out "plain channels_last" skorch]

Two pieces of work: the digits with the default network, and a ResNet-18 on images of CIFAR's size (random pixels: only
the time is of interest). Every subject of `benchmarks/loops.py` trains the same network on the same arrays by the same
recipe, logs losses and accuracies of every epoch, and leaves a checkpoint; ours does all that the pipeline does, from
checking the dataset's digest and trying the network to the sealed checkpoint, in a process that allocates as the
flow's does, while this process logs its epochs and the machine's load to MLflow. Ours steps AdamW in one kernel; "plain
fused" is the loop by hand with that, which torch does not do by itself. One subject writes two durable checkpoints on
its way: what each costs, as a share of the time between two at the default cadence, is printed below the table. Each
subject is a process of its own that trains a few steps first and is replaced after two turns; they take turns in every
round, FP32 in a row and mixed precision in a row, in another order each time, and a ratio is taken within its round.

What mixed precision can give depends on the processor, so the convolutions of the second network are measured by
themselves too, in FP32 and in BF16: most of the time goes there, and no loop can be much faster than they are. Prints
tables of medians, with the quartiles of the ratios, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from loops import LABEL_SMOOTHING, LEARNING_RATE, LOOPS, MAX_NORM, WEIGHT_DECAY, Work, quiet
from sklearn.datasets import load_digits
from training_table import checkpoint_cost, judge, summarise, table
from turns import Subject, serve, take_turns

from pt_core.child import PROGRESS_VARIABLE
from pt_core.data.config import DataConfig
from pt_core.data.dataset import Dataset, load_split
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.environment import describe_environment
from pt_core.modeling.network import build_network, complete_spec
from pt_core.modeling.spec import ModelConfig
from pt_core.training.config import TrainConfig
from pt_core.training.fit import train
from pt_core.training.requests import TrainRequest

OURS = "pt-pipeline"
DURABLE = f"{OURS}, 2 durable checkpoints"
AUTO = f"{OURS} auto"
ROUNDS_PER_PROCESS = 2
PRECISIONS = ("fp32", "bf16-mixed")


class Task(NamedTuple):
    """One piece of work."""

    target: str
    """The network."""
    epochs: int
    """Passes over the training split."""
    num_images: int | None
    """Random images of CIFAR's size; none for the digits."""
    min_auto: float
    """What ``precision: auto`` gives at least on a processor with AMX, the loop by hand in FP32 being one."""
    by_hand: float
    """What channels_last with BF16 by hand gave there; elsewhere "auto" is held to the same share of it."""


TASKS = {
    "digits": Task("pt_core.modeling.cnn:cnn", epochs=60, num_images=None, min_auto=1.8, by_hand=1.97),
    "resnet18": Task(
        "pt_core.modeling.resnet:resnet18", epochs=12, num_images=480, min_auto=2.6, by_hand=2.79
    ),
}


def make_dataset(task: Task, folder: Path) -> Dataset:
    """Return the samples, split and sealed as the pipeline does it."""
    if task.num_images is None:
        images = load_digits()
        x, y = (images.images[:, None] / 16).astype(np.float32), images.target
    else:
        random_ = np.random.default_rng(0)
        x = random_.random((task.num_images, 3, 32, 32), dtype=np.float32)
        y = np.arange(task.num_images) % 10
    np.savez(folder / "data.npz", x=x, y=y)
    config = DataConfig(source="arrays", path="data.npz", input_range=(0, 1))
    request = PrepareRequest(
        config=config, seed=0, base_dir=str(folder), source_sha256=None, store=str(folder / "store")
    )
    return prepare(request)


def prepared(
    name: str, *, task: Task, precision: str, device: str, folder: Path
) -> Callable[[], dict[str, float]]:
    """Train a few steps to warm up; return what trains to the end and gives seconds, accuracy and peak memory."""
    dataset = make_dataset(task, folder)
    make = _ours if name.startswith(OURS) else _theirs

    def train_once(epochs: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory(dir=folder) as run_folder:
            run = make(
                dataset,
                task,
                name,
                precision=precision,
                device=device,
                epochs=epochs,
                folder=Path(run_folder),
            )
            return _measured(run, device=device)

    train_once(1)
    return lambda: train_once(task.epochs)


def _measured(run: Callable[[], float], *, device: str) -> dict[str, float]:
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    accuracy = run()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "accuracy": accuracy, "peak_mib": _peak_bytes(device) / 2**20}


def _peak_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) * 1024


def _ours(
    dataset: Dataset, task: Task, name: str, *, precision: str, device: str, epochs: int, folder: Path
) -> Any:
    config = TrainConfig(
        epochs=epochs,
        batch_size=64,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        label_smoothing=LABEL_SMOOTHING,
        max_gradient_norm=MAX_NORM,
        precision="auto" if name == AUTO else precision,
        device=device,
        channels_last=name == AUTO,
        checkpoint_every_steps=_steps(dataset, epochs) // 2 if name == DURABLE else None,
    )
    request = TrainRequest(
        dataset=dataset,
        model=ModelConfig(target=task.target),
        code_sha256="",
        config=config,
        seed=0,
        store=str(folder),
    )
    return lambda: train(request).history[-1].validation_accuracy


def _steps(dataset: Dataset, epochs: int) -> int:
    return max(2, epochs * -(-len(load_split(dataset, "train").y) // 64))


def _theirs(
    dataset: Dataset, task: Task, name: str, *, precision: str, device: str, epochs: int, folder: Path
) -> Any:
    torch.manual_seed(0)
    spec = complete_spec(ModelConfig(target=task.target), dataset, channels_last=False)
    splits = [load_split(dataset, split) for split in ("train", "validation")]
    train_split, validation = (
        (torch.tensor(np.array(split.x)), torch.tensor(np.array(split.y))) for split in splits
    )
    work = Work(build_network(spec), train_split, validation, epochs, 64, device, precision, folder)
    return lambda: LOOPS[name](work)


def subjects(device: str) -> list[tuple[str, str]]:
    """Return every subject with each precision; what is only a variation of the loop by hand comes once."""
    varied = ["plain compiled"] if device == "cuda" else []
    named = [
        "plain",
        "plain fused",
        "plain channels_last",
        *varied,
        *(n for n in LOOPS if not n.startswith("plain")),
        OURS,
    ]
    each = [(name, precision) for name in named for precision in PRECISIONS]
    return [*each, (DURABLE, "fp32"), (AUTO, "auto")]


def run_all(name: str, chosen: list[tuple[str, str]], *, rounds: int, device: str) -> list[dict[str, Any]]:
    """Give each of the chosen subjects its turns."""
    commands = {
        Subject(subject, precision, is_ours=subject.startswith(OURS)): [
            *(sys.executable, "-W", "ignore", __file__, "--device", device),
            *("--one", name, subject, precision),
        ]
        for subject, precision in chosen
    }
    return take_turns(commands, rounds=rounds, rounds_per_process=ROUNDS_PER_PROCESS, title=name)


def ceiling(device: str, *, rounds: int = 20) -> float:
    """Return how many times as fast the convolutions of a ResNet-18, forward and backward, are in BF16 on this machine.

    They are compared as the subjects are: channels_last in BF16 against FP32 as it is. The shapes are those of the four
    stages for a batch of 64 images of CIFAR's size.
    """
    full, low = (
        [
            _convolution(*shape, device=device, dtype=dtype, memory_format=memory_format)
            for shape in ((64, 32), (128, 16), (256, 8), (512, 4))
        ]
        for dtype, memory_format in (
            (torch.float32, torch.contiguous_format),
            (torch.bfloat16, torch.channels_last),
        )
    )
    ratios = [_seconds(full, device) / _seconds(low, device) for _ in range(rounds + 3)]
    return float(statistics.median(ratios[3:]))


def _convolution(
    channels: int, size: int, *, device: str, dtype: torch.dtype, memory_format: torch.memory_format
) -> Callable[[], object]:
    x, kernel, gradient = (
        torch.rand(shape, device=device).to(dtype, memory_format=memory_format)
        for shape in ((64, channels, size, size), (channels, channels, 3, 3), (64, channels, size, size))
    )
    x.requires_grad_()
    kernel.requires_grad_()
    return lambda: torch.autograd.grad(F.conv2d(x, kernel, padding=1), (x, kernel), gradient)


def _seconds(calls: list[Callable[[], object]], device: str) -> float:
    started = time.perf_counter()
    for call in calls:
        call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--work", nargs="+", choices=tuple(TASKS), default=list(TASKS))
    parser.add_argument("--leave-out", nargs="+", default=[], help="subjects, all but the loop by hand")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    known = {name for name, _ in subjects(arguments.device)} - {"plain"}
    if unknown := sorted(set(arguments.leave_out) - known):
        parser.error(f"--leave-out: no {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    if arguments.one:
        name, subject, precision = arguments.one
        if PROGRESS_VARIABLE in os.environ:
            os.environ[PROGRESS_VARIABLE] += f":{os.getpid()}"
        with tempfile.TemporaryDirectory() as folder, quiet():
            turn = prepared(
                subject, task=TASKS[name], precision=precision, device=arguments.device, folder=Path(folder)
            )
            serve(turn)
        return
    here = describe_environment()
    card = torch.cuda.get_device_name() if arguments.device == "cuda" else here.cpu_model
    summary: dict[str, Any] = {"device": card, "torch": torch.__version__, "rounds": arguments.rounds}
    summary["convolutions, bf16 against fp32"] = ratio = ceiling(arguments.device)
    print(
        f"{card}, {here.num_cpus} cores, {', '.join(here.cpu_capabilities) or 'no BF16'}; torch {torch.__version__}"
    )
    print(f"The convolutions of a ResNet-18 are {ratio:.2f} times as fast in BF16 as in FP32 here.")
    chosen = [one for one in subjects(arguments.device) if one[0] not in arguments.leave_out]
    for name in arguments.work:
        found = run_all(name, chosen, rounds=arguments.rounds, device=arguments.device)
        rows = summarise(found, chosen)
        print("", f"## {name}", "", *table(rows), "", sep="\n")
        has_amx = arguments.device == "cpu" and "amx_bf16" in here.cpu_capabilities
        task = TASKS[name]
        claims = judge(
            rows, ours=OURS, auto=AUTO, min_auto=task.min_auto, by_hand=task.by_hand, has_amx=has_amx
        )
        print(*claims, sep="\n")
        if {(OURS, "fp32"), (DURABLE, "fp32")} <= set(chosen):
            share = checkpoint_cost(
                found,
                without=OURS,
                with_two=DURABLE,
                minutes_between=TrainConfig().checkpoint_every_minutes or 1,
            )
            print(f"- a durable checkpoint costs {share:.2%} of the time between two at the default cadence")
            summary[f"{name}: share of a durable checkpoint"] = share
        summary[name], summary[f"{name}: every turn"] = rows, found
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
