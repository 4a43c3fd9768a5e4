"""A checkpoint to damage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pt_core.artifacts.checkpoint import Checkpoint, CheckpointInfo
from pt_core.artifacts.checkpoint_files import save_checkpoint
from pt_core.environment import describe_environment
from pt_core.modeling.network import build_network
from pt_core.modeling.spec import ModelSpec


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    spec = ModelSpec(
        target="pt_core.modeling.mlp:mlp",
        arguments={"input_shape": [8], "num_classes": 3, "hidden": [4]},
        input_shape=(8,),
        num_classes=3,
        mean=None,
        std=None,
        input_range=None,
    )
    network: nn.Module = build_network(spec)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(2, 8)).sum().backward()
    optimizer.step()
    info = CheckpointInfo(
        spec=spec,
        labels=("a", "b", "c"),
        dataset_digest="0" * 64,
        data_fingerprint="1" * 64,
        config={"epochs": 1},
        seed=0,
        precision="fp32",
        precision_reason="a test",
        device="cpu",
        epoch=1,
        history=(),
        num_parameters=51,
        environment=describe_environment(),
    )
    return save_checkpoint(
        tmp_path / "store",
        info=info,
        network=network,
        training_state={"optimizer": optimizer.state_dict(), "epoch": 1},
        golden_inputs=torch.rand(4, 8),
    )
