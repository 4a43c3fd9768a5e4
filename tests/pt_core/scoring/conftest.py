"""A network of a table's eight columns and one of digits, each as an artifact to score with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from checkpoint_fixtures import checkpoint, golden_inputs, info, network, spec, training_state
from tiny_fixtures import builder, dataset

from pt_core.artifacts.artifact import Artifact
from pt_core.scoring.requests import ScoreRequest, Scores
from pt_core.scoring.score import score

__all__ = ["builder", "checkpoint", "dataset", "golden_inputs", "info", "network", "spec", "training_state"]

Call = Callable[..., Scores]


@pytest.fixture
def table(checkpoint, tmp_path) -> Artifact:
    return tiny.root_artifact(checkpoint, tmp_path / "store")


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
