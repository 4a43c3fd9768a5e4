"""A network of a table's eight columns and one of digits, each as an artifact to score with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from checkpoint_fixtures import checkpoint, golden_inputs, info, network, spec, training_state
from tiny_fixtures import builder, dataset

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.checkpoint_files import save_checkpoint
from pt_core.modeling.network import build_network
from pt_core.scoring.requests import ScoreRequest, Scores
from pt_core.scoring.score import score

__all__ = ["builder", "checkpoint", "dataset", "golden_inputs", "info", "network", "spec", "training_state"]

Call = Callable[..., Scores]


@pytest.fixture
def table(checkpoint, tmp_path) -> Artifact:
    return tiny.root_artifact(checkpoint, tmp_path / "store")


@pytest.fixture
def steep(spec, info, training_state, golden_inputs, tmp_path) -> Artifact:
    """As ``table``, of inputs so small that a large one overflows."""
    steep = info.model_copy(update={"spec": spec.model_copy(update={"std": (0.01,) * 8})})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(steep.spec)
    kept = save_checkpoint(
        tmp_path / "store",
        info=steep,
        network=network,
        training_state=training_state,
        golden_inputs=golden_inputs,
    )
    return tiny.root_artifact(kept, tmp_path / "store")


@pytest.fixture
def digits(dataset, tmp_path) -> Artifact:
    return tiny.root_artifact(tiny.checkpoint(tmp_path / "store", dataset), tmp_path / "store")


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "scores.parquet"


@pytest.fixture
def scored(output) -> Call:
    """Score with every block as a part of its own."""

    def call(artifact: Artifact, source: Path, **options: object) -> Scores:
        request = {"artifact": artifact, "source": str(source), "output": str(output), "part_seconds": 0}
        return score(ScoreRequest.model_validate(request | options))

    return call
