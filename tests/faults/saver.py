"""Kills processes that save checkpoints, again and again; prints what they announced and what they left, as JSON.

A program of its own, so that the savers can be forked from a process that has imported everything but started no thread.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from pt_core.artifacts.checkpoint import CheckpointInfo
from pt_core.artifacts.checkpoint_files import save_checkpoint
from pt_core.bundle import sweep
from pt_core.environment import describe_environment
from pt_core.modeling.network import build_network
from pt_core.modeling.spec import ModelSpec

SPEC = ModelSpec(
    target="pt_core.modeling.mlp:mlp",
    arguments={"input_shape": [64], "num_classes": 10, "hidden": [256, 256]},
    input_shape=(64,),
    num_classes=10,
    mean=None,
    std=None,
    input_range=None,
)


def save(store: Path, epoch: int) -> str:
    """Save a checkpoint with weights of its own; return its directory."""
    torch.manual_seed(epoch)
    network = build_network(SPEC)
    info = CheckpointInfo(
        spec=SPEC,
        labels=tuple("abcdefghij"),
        dataset_digest="0" * 64,
        data_fingerprint="1" * 64,
        config={},
        seed=0,
        precision="fp32",
        precision_reason="a test",
        device="cpu",
        epoch=epoch,
        history=(),
        num_parameters=1,
        environment=describe_environment(),
    )
    state: dict[str, object] = {"epoch": epoch, "moments": torch.randn(2**16)}
    checkpoint = save_checkpoint(
        store, info=info, network=network, training_state=state, golden_inputs=torch.rand(8, 64)
    )
    return checkpoint.directory


def kill_one(store: Path, journal: Path, *, first_epoch: int, delay_s: float) -> None:
    """Start a saver, and kill it with SIGKILL after a delay."""
    child = os.fork()
    if child == 0:
        with journal.open("a") as announced:
            for epoch in range(first_epoch, first_epoch + 1000):
                announced.write(save(store, epoch) + "\n")
                announced.flush()
        os._exit(0)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def main() -> None:
    store, journal, num_kills, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    describe_environment()
    store.mkdir()
    generator = np.random.default_rng(seed)
    num_left, num_swept = 0, 0
    for number in range(num_kills):
        delay_s = float(generator.uniform(0.0, 0.25))
        kill_one(store, journal, first_epoch=1000 * number, delay_s=delay_s)
        num_left += len(list(store.glob(".staging-*")))
        num_swept += sweep(store)
    print(json.dumps({"num_left": num_left, "num_swept": num_swept}))


if __name__ == "__main__":
    main()
