"""A small real checkpoint, saved by the product's own code."""

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
def spec() -> ModelSpec:
    return ModelSpec(
        target="pt_core.modeling.mlp:mlp",
        arguments={"input_shape": [8], "num_classes": 3, "hidden": [4]},
        input_shape=(8,),
        num_classes=3,
        mean=(0.5,) * 8,
        std=(2.0,) * 8,
        input_range=None,
    )


@pytest.fixture
def info(spec: ModelSpec) -> CheckpointInfo:
    return CheckpointInfo(
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


@pytest.fixture
def network(spec: ModelSpec) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_network(spec)


@pytest.fixture
def golden_inputs() -> torch.Tensor:
    return torch.rand(4, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def training_state(network: nn.Module) -> dict[str, object]:
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network(torch.ones(2, 8)).sum().backward()
    optimizer.step()
    generator = torch.Generator().manual_seed(2)
    return {
        "optimizer": optimizer.state_dict(),
        "epoch": 1,
        "rng": generator.get_state(),
        "losses": [0.5, 0.25],
    }


@pytest.fixture
def checkpoint(
    tmp_path: Path,
    info: CheckpointInfo,
    network: nn.Module,
    training_state: dict[str, object],
    golden_inputs: torch.Tensor,
) -> Checkpoint:
    return save_checkpoint(
        tmp_path / "store",
        info=info,
        network=network,
        training_state=training_state,
        golden_inputs=golden_inputs,
    )
