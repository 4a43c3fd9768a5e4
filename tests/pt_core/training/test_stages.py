"""A network in two stages computes what it does in one piece, under the same names."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.artifacts.tensors import load_tensors
from pt_core.errors import ConfigError
from pt_core.training.fit import train
from pt_core.training.parallel_config import ParallelConfig
from pt_core.training.stages import split_in_two, stage_devices


def weights_of(checkpoint):
    return load_tensors(Path(checkpoint.directory) / WEIGHTS, finite=True)


def test_a_network_in_two_stages_trains_to_the_bits_and_names_of_one_in_one_piece(make_request):
    staged = {"strategy": "model_parallel", "split_at": "0.3"}
    whole, halves = (train(make_request(epochs=1, parallel=plan)) for plan in ({}, staged))
    expected, found = weights_of(whole), weights_of(halves)
    assert list(found) == list(expected)
    assert all((found[name] == value).all() for name, value in expected.items())
    assert whole.history[0].validation_loss == halves.history[0].validation_loss


def test_what_stands_from_the_split_on_moves_and_activations_follow():
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))
    # The meta device takes what is on it or moved to it, and gives nothing back: no second device is needed.
    split_in_two(network, split_at="2", devices=("cpu", "meta"))
    found = {name: parameter.device.type for name, parameter in network.named_parameters()}
    assert found == {"0.weight": "cpu", "0.bias": "cpu", "2.1.weight": "meta", "2.1.bias": "meta"}
    assert network[2](network[1](network[0](torch.ones(3, 4)))).device.type == "meta"
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        network(torch.ones(3, 4))


def test_a_split_at_a_module_that_is_not_there_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"no module frist.*first.*its modules begin with first, second"):
        split_in_two(tiny.Tied(), split_at="frist", devices=("cpu", "cpu"))


def test_a_split_between_layers_that_share_a_weight_is_refused():
    with pytest.raises(ConfigError, match="second would part first from a module that shares a parameter"):
        split_in_two(tiny.Tied(), split_at="second", devices=("cpu", "cpu"))
    split_in_two(tiny.Tied(), split_at="last", devices=("cpu", "cpu"))


@pytest.mark.parametrize(
    ("devices", "device", "expected"),
    [
        (None, "mps", "takes two GPUs by itself, found"),
        (("cpu", "nowhere"), "cpu", "nowhere cannot be used here"),
        (("cpu", "cpu"), "cuda", "the first stage is on cpu, but train.device is cuda"),
    ],
)
def test_devices_that_cannot_hold_the_stages_are_refused(devices, device, expected):
    config = ParallelConfig(strategy="model_parallel", split_at="last", devices=devices)
    with pytest.raises(ConfigError, match=expected):
        stage_devices(config, device)


def test_on_the_cpu_both_stages_are_there():
    config = ParallelConfig(strategy="model_parallel", split_at="last")
    assert stage_devices(config, "cpu") == ("cpu", "cpu")
