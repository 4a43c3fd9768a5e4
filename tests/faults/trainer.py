"""Kills a training with SIGKILL at random moments, again and again, and lets it end; prints what it left, as JSON.

A program of its own, so that the trainings can be forked from a process that has imported everything but started no
thread; each is led into a process group and dies by a signal that it cannot see.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # what an optimizer imports at its first step, once for all trainings
import torch.utils.flop_counter

from pt_core.artifacts.checkpoint import WEIGHTS, Checkpoint
from pt_core.data.config import DataConfig
from pt_core.data.dataset import Dataset
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.environment import core_code_digest, describe_environment, runtime_identity
from pt_core.modeling.spec import ModelConfig
from pt_core.training.config import TrainConfig
from pt_core.training.fit import train
from pt_core.training.requests import TrainRequest
from pt_core.training.resume import TRAINING, training_key

STEPS_PER_EPOCH = 17  # 1,080 samples, 64 in a step
MODEL = ModelConfig(target="loud:Loud", initialization="kaiming")
CONFIGS = {
    "everything": TrainConfig(
        epochs=4,
        batch_size=32,
        accumulation_steps=2,
        precision="fp16-mixed",
        schedule="plateau",
        plateau_patience=0,
        plateau_factor=0.5,
        warmup_epochs=1.5,
        ema_decay=0.9,
        early_stopping_patience=4,
        sampler="balanced",
        checkpoint_every_steps=2,
        device="cpu",
    ),
    "plain": TrainConfig(epochs=6, precision="fp32", checkpoint_every_steps=2, device="cpu"),
}


def request_for(dataset: Dataset, name: str, store: Path) -> TrainRequest:
    return TrainRequest(
        dataset=dataset,
        model=MODEL,
        code_sha256="0" * 64,
        config=CONFIGS[name],
        seed=3,
        store=str(store),
    )


def start(request: TrainRequest, answer: Path) -> int:
    """Fork a process that trains and then writes its checkpoint's record."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        answer.with_suffix(".partial").write_text(train(request).to_json())
        answer.with_suffix(".partial").rename(answer)
        os._exit(0)
    return child


def finish(request: TrainRequest, answer: Path) -> Checkpoint:
    _, status = os.waitpid(start(request, answer), 0)
    assert status == 0, f"the training ended with {status}"
    return Checkpoint.from_json(answer.read_bytes())


def wait_for_saves(folder: Path, num_saves: int, answer: Path) -> None:
    """Wait until so many new checkpoints have appeared, or the training has ended."""
    known = {path.name for path in folder.glob("step-*")}
    seen: set[str] = set()
    while len(seen) < num_saves and not answer.exists():
        seen |= {path.name for path in folder.glob("step-*")} - known
        time.sleep(0.002)


def digest(checkpoint: Checkpoint) -> str:
    return hashlib.sha256((Path(checkpoint.directory) / WEIGHTS).read_bytes()).hexdigest()


def losses(checkpoint: Checkpoint) -> list[tuple[float, float, int]]:
    return [
        (epoch.train_loss, epoch.validation_loss, epoch.num_skipped_steps) for epoch in checkpoint.history
    ]


def main() -> None:
    folder, name, num_kills, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    describe_environment(), core_code_digest(), runtime_identity()
    dataset = prepare(
        PrepareRequest(
            config=DataConfig(), seed=0, base_dir=str(folder), source_sha256=None, store=str(folder)
        )
    )
    whole = finish(request_for(dataset, name, folder / "whole"), folder / "whole.json")

    request, answer = request_for(dataset, name, folder / "killed"), folder / "killed.json"
    checkpoints = Path(request.store) / TRAINING / training_key(request)
    num_saves = len(whole.history) * STEPS_PER_EPOCH // 2
    generator = np.random.default_rng(seed)
    num_hit = 0
    for _ in range(num_kills):
        child = start(request, answer)
        # So many more checkpoints on average that the kills spread over all of the training.
        wait_for_saves(checkpoints, int(generator.integers(0, 1 + 2 * num_saves // (num_kills + 1))), answer)
        # Up to a few steps more: the kill falls into a step, into its checkpoint or between the two.
        time.sleep(float(generator.uniform(0, 0.02)))
        os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        num_hit += os.WIFSIGNALED(status)
        if answer.exists():
            break
    killed = Checkpoint.from_json(answer.read_bytes()) if answer.exists() else finish(request, answer)
    print(
        json.dumps(
            {
                "num_hit": num_hit,
                "remarks": killed.remarks,
                "num_skipped": sum(epoch.num_skipped_steps for epoch in whole.history),
                "whole": [digest(whole), losses(whole), whole.epoch],
                "killed": [digest(killed), losses(killed), killed.epoch],
                "left": [path.name for path in (folder / "killed").rglob("*") if TRAINING in path.parts],
            }
        )
    )


if __name__ == "__main__":
    main()
