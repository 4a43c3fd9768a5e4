"""How fast training is: ours against the loop by hand, Lightning, Accelerate, skorch and Ignite, in one run.

    .venv/bin/python -m pip install -c constraints.txt -e '.[bench]'
    .venv/bin/python benchmarks/training.py [--rounds 5] [--device cuda] [--work digits resnet18]

Two pieces of work: the digits with the default network, and a ResNet-18 on images of CIFAR's size (random pixels: only
the time is of interest). Every subject of `benchmarks/loops.py` trains the same network on the same arrays by the same
recipe, logs losses and accuracies of every epoch, and leaves a checkpoint; ours does all that the pipeline does, from
checking the dataset's digest to the sealed checkpoint, while this process logs its epochs and the machine's load to
MLflow as the flow does. One subject writes two durable checkpoints on its way: what each costs, as a share of the time
between two at the default cadence, is printed below the table. Each measurement is a fresh process that trains a few steps
first; the subjects take turns in every round, in another order each time, and a ratio is taken within its round.
Prints a table of medians, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from loops import LABEL_SMOOTHING, LEARNING_RATE, LOOPS, MAX_NORM, WEIGHT_DECAY, Work, quiet
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits

from pt_core.child import PROGRESS_VARIABLE, Progress
from pt_core.data.config import DataConfig
from pt_core.data.dataset import Dataset, load_split
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.modeling.network import build_network, complete_spec
from pt_core.modeling.spec import ModelConfig
from pt_core.training.config import TrainConfig
from pt_core.training.fit import train
from pt_core.training.requests import TrainRequest
from tasks import tracking
from tasks.follow import followed

OURS = "pt-pipeline"
DURABLE = f"{OURS}, 2 durable checkpoints"
PRECISIONS = ("fp32", "bf16-mixed")


class Task(NamedTuple):
    """One piece of work."""

    target: str
    """The network."""
    epochs: int
    """Passes over the training split."""
    num_images: int | None
    """Random images of CIFAR's size; none for the digits."""


TASKS = {
    "digits": Task("pt_core.modeling.cnn:cnn", epochs=60, num_images=None),
    "resnet18": Task("pt_core.modeling.resnet:resnet18", epochs=2, num_images=720),
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


def measure(name: str, *, task: Task, precision: str, device: str, folder: Path) -> dict[str, float]:
    """Train a few steps to warm up, then to the end; return seconds, accuracy and peak memory."""
    dataset = make_dataset(task, folder)
    for epochs in (1, task.epochs):
        run_folder = folder / str(epochs)
        run_folder.mkdir(exist_ok=True)
        if name.startswith(OURS):
            run = _ours(
                dataset, task, name, precision=precision, device=device, epochs=epochs, folder=run_folder
            )
        else:
            run = _theirs(
                dataset, task, name, precision=precision, device=device, epochs=epochs, folder=run_folder
            )
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
        precision="auto" if name.endswith("auto") else precision,
        device=device,
        channels_last=name.endswith("auto"),
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
    named = ["plain", "plain channels_last", *varied, *(n for n in LOOPS if not n.startswith("plain")), OURS]
    each = [(name, precision) for name in named for precision in PRECISIONS]
    return [*each, (DURABLE, "fp32"), (f"{OURS} auto", "auto")]


def run_all(name: str, *, rounds: int, device: str) -> list[dict[str, Any]]:
    """Measure every subject once per round, each in a fresh process, in a shuffled order."""
    found: list[dict[str, Any]] = []
    turns = [(number, *one) for number in range(rounds) for one in _shuffled(device, number)]
    for number, subject, precision in track(turns, description=name, console=Console(stderr=True)):
        command = [
            sys.executable,
            "-W",
            "ignore",
            __file__,
            "--one",
            name,
            subject,
            precision,
            "--device",
            device,
        ]
        done = _followed(command) if subject.startswith(OURS) else _run(command, environment={}, pass_fds=())
        if done.returncode:
            sys.exit(f"{subject}, {precision}: {done.stderr[-2000:]}")
        found.append(
            {
                "round": number,
                "subject": subject,
                "precision": precision,
                **json.loads(done.stdout.splitlines()[-1]),
            }
        )
    return found


def _run(
    command: list[str], *, environment: dict[str, str], pass_fds: tuple[int, ...]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        pass_fds=pass_fds,
    )


def _followed(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run ours with its epochs logged to MLflow by this process, as the flow does it."""
    read_end, write_end = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        run = tracking.start_run(uri, experiment="speed", run_name="one", artifact_root=folder, tags={})
        with followed(run) as log:
            listener = threading.Thread(target=_listen, args=(read_end, log))
            listener.start()
            try:
                return _run(command, environment={PROGRESS_VARIABLE: str(write_end)}, pass_fds=(write_end,))
            finally:
                os.close(write_end)
                listener.join()


def _listen(descriptor: int, log: Callable[[Progress], None]) -> None:
    with os.fdopen(descriptor, "rb") as lines:
        for line in lines:
            log(Progress.from_json(line))


def _shuffled(device: str, seed: int) -> list[tuple[str, str]]:
    chosen = subjects(device)
    random.Random(seed).shuffle(chosen)  # the order of measurements, nothing secret
    return chosen


def summarise(found: list[dict[str, Any]], device: str) -> list[dict[str, Any]]:
    """Return the medians of each subject, with its speed as a ratio to the loop by hand in the same round."""
    seconds = {(one["round"], one["subject"], one["precision"]): one["seconds"] for one in found}
    rounds = sorted({one["round"] for one in found})
    rows = []
    for subject, precision in subjects(device):
        own = [one for one in found if (one["subject"], one["precision"]) == (subject, precision)]

        def faster(than: str, subject: str = subject, precision: str = precision) -> float:
            return statistics.median(
                seconds[number, "plain", than] / seconds[number, subject, precision] for number in rounds
            )

        rows.append(
            {
                "subject": subject,
                "precision": precision,
                "seconds": statistics.median(one["seconds"] for one in own),
                "speed against plain, same precision": None if precision == "auto" else faster(precision),
                "speed against plain fp32": faster("fp32"),
                "peak_mib": statistics.median(one["peak_mib"] for one in own),
                "validation_accuracy": statistics.median(one["accuracy"] for one in own),
            }
        )
    return rows


def show(name: str, rows: list[dict[str, Any]]) -> None:
    """Print one table."""
    table = Table(
        "subject",
        "precision",
        "seconds",
        "x plain, like for like",
        "x plain fp32",
        "peak MiB",
        "accuracy",
        title=name,
    )
    for row in rows:
        same = row["speed against plain, same precision"]
        table.add_row(
            row["subject"],
            row["precision"],
            f"{row['seconds']:.2f}",
            "" if same is None else f"{same:.3f}",
            f"{row['speed against plain fp32']:.2f}",
            f"{row['peak_mib']:.0f}",
            f"{row['validation_accuracy']:.3f}",
        )
    Console(width=120).print(table)


def checkpoint_cost(rows: list[dict[str, Any]]) -> float:
    """Return what a durable checkpoint costs as a share of the time between two at the default cadence."""
    seconds = {(row["subject"], row["precision"]): row["seconds"] for row in rows}
    a_checkpoint = max(0.0, seconds[DURABLE, "fp32"] - seconds[OURS, "fp32"]) / 2
    share = a_checkpoint / (60 * (TrainConfig().checkpoint_every_minutes or 1))
    print(f"a durable checkpoint costs {a_checkpoint:.2f} s: {share:.2%} of the default cadence\n")
    return share


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--work", nargs="+", choices=tuple(TASKS), default=list(TASKS))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, subject, precision = arguments.one
        if PROGRESS_VARIABLE in os.environ:
            os.environ[PROGRESS_VARIABLE] += f":{os.getpid()}"
        with tempfile.TemporaryDirectory() as folder, quiet():
            task = TASKS[name]
            one = measure(
                subject, task=task, precision=precision, device=arguments.device, folder=Path(folder)
            )
        print(json.dumps(one), flush=True)
        os._exit(0)  # some of the libraries leave threads behind
    card = (
        torch.cuda.get_device_name()
        if arguments.device == "cuda"
        else platform.processor() or platform.machine()
    )
    summary: dict[str, Any] = {"device": card, "torch": torch.__version__, "rounds": arguments.rounds}
    for name in arguments.work:
        rows = summarise(run_all(name, rounds=arguments.rounds, device=arguments.device), arguments.device)
        show(name, rows)
        summary[f"{name}: share of a durable checkpoint"] = checkpoint_cost(rows)
        summary[name] = rows
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
