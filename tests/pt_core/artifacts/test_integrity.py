"""Golden outputs that are not reproduced: damage is told from a model that does not repeat itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from pt_core.artifacts.checkpoint_files import check_checkpoint
from pt_core.artifacts.integrity import replay_golden
from pt_core.artifacts.tensors import read_golden
from pt_core.bundle import open_bundle
from pt_core.errors import IntegrityError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return tiny.digits(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("network", ["LeavesDropoutOn", "AddsNoise"])
def test_a_checkpoint_of_a_random_network_is_refused_as_random(network, dataset, tmp_path):
    saved = tiny.checkpoint(tmp_path, dataset, target=f"hostile:{network}")
    # The fixture leaves the generator as it was, and equal draws would reproduce the outputs.
    torch.manual_seed(1)
    with pytest.raises(
        IntegrityError, match=r"golden outputs differ .*: the model is random in evaluation mode"
    ):
        check_checkpoint(*open_bundle(Path(saved.directory)))


def test_outputs_that_differ_the_same_each_time_are_another_model(dataset, tmp_path):
    saved = tiny.checkpoint(tmp_path, dataset)
    _, logits = read_golden(saved)
    with pytest.raises(IntegrityError, match=r"golden outputs differ .*not those that wrote it"):
        replay_golden(saved, lambda x: logits + np.float32(1), input_shape=(1, 8, 8), num_classes=10)
