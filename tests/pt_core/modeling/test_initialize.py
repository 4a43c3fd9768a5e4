"""Initial weights have the statistics of their method, and depend on nothing but the generator."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pt_core.modeling.initialize import initialize
from pt_core.modeling.spec import ModelConfig


def drawn(network, method, seed=0):
    initialize(network, method=method, generator=torch.Generator().manual_seed(seed))
    return network


def deviation(weight):
    return float(weight.detach().std())


def test_kaiming_is_normal_with_gain_over_root_of_fan_in():
    network = drawn(
        nn.Sequential(nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3)), "kaiming"
    )
    assert deviation(network[0].weight) == pytest.approx(math.sqrt(2 / (32 * 9)), rel=0.03)
    assert deviation(network[3].weight) == pytest.approx(math.sqrt(1 / (64 * 9)), rel=0.03)


@pytest.mark.parametrize(
    ("activation", "gain"),
    [(nn.ReLU(), 2**0.5), (nn.Tanh(), 5 / 3), (nn.Sigmoid(), 1.0), (nn.LeakyReLU(0.2), (2 / 1.04) ** 0.5)],
)
def test_xavier_is_uniform_with_the_gain_of_what_follows(activation, gain):
    network = drawn(nn.Sequential(nn.Linear(300, 200), nn.Dropout(), activation, nn.Linear(200, 2)), "xavier")
    bound = gain * math.sqrt(6 / 500)
    weight = network[0].weight.detach()
    assert float(weight.abs().max()) == pytest.approx(bound, rel=0.01)
    assert deviation(weight) == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_orthogonal_rows_are_orthogonal_and_as_long_as_the_gain():
    weight = drawn(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2)), "orthogonal")[
        0
    ].weight.detach()
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(32), atol=1e-5, rtol=0)


def test_normal_has_a_deviation_of_one_fiftieth():
    assert deviation(drawn(nn.Sequential(nn.Linear(300, 300)), "normal")[0].weight) == pytest.approx(
        0.02, rel=0.03
    )


def test_a_non_linearity_out_of_sight_counts_as_relu():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(400, 400)
            self.last = nn.Linear(400, 400)

        def forward(self, x):
            return self.last(torch.relu(self.first(x)))

    network = drawn(Hidden(), "kaiming")
    assert deviation(network.first.weight) == pytest.approx(math.sqrt(2 / 400), rel=0.03)
    assert deviation(network.last.weight) == pytest.approx(math.sqrt(1 / 400), rel=0.03)


def test_activations_of_a_deep_relu_network_keep_their_scale():
    layers = [layer for _ in range(20) for layer in (nn.Linear(256, 256), nn.ReLU())]
    network = drawn(nn.Sequential(*layers, nn.Linear(256, 256)), "kaiming")
    x = torch.randn(512, 256, generator=torch.Generator().manual_seed(1))
    assert 0.3 < deviation(network(x)) < 3


def test_biases_are_zero_norms_the_identity_and_padding_stays_zero():
    network = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.LayerNorm(4), nn.Embedding(500, 16, padding_idx=3)
    )
    for parameter in network.parameters():
        nn.init.constant_(parameter, 7.0)
    network[1].running_mean.fill_(7.0)
    drawn(network, "kaiming")
    assert not network[0].bias.any()
    assert torch.equal(network[1].weight, torch.ones(4))
    assert not network[1].running_mean.any()
    assert torch.equal(network[2].weight, torch.ones(4))
    assert not network[3].weight[3].any()
    assert deviation(network[3].weight) == pytest.approx(0.02, rel=0.1)


def test_keep_changes_nothing():
    network = nn.Sequential(nn.Linear(4, 4))
    before = network[0].weight.clone()
    assert torch.equal(drawn(network, "keep")[0].weight, before)


@pytest.mark.parametrize("method", ["xavier", "kaiming", "normal", "orthogonal"])
def test_frozen_weights_are_never_drawn(method):
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Embedding(5, 2), nn.Linear(4, 4), nn.Linear(4, 4)
    )
    for value in (*network.parameters(), network[1].running_mean):
        nn.init.constant_(value, 7.0)
    network[:4].requires_grad_(False)
    network[4].bias.requires_grad_(False)
    drawn(network, method)
    for value in (*network[:4].parameters(), network[1].running_mean, network[4].bias):
        assert torch.equal(value, torch.full_like(value, 7.0))
    assert not torch.equal(network[4].weight, torch.full((4, 4), 7.0))


def test_weights_that_the_code_loaded_are_kept_unless_a_method_is_asked_for():
    assert ModelConfig().initialization == "keep"


def test_an_activation_registered_after_the_last_layer_does_not_change_its_gain():
    network = drawn(nn.ModuleDict({"layer": nn.Linear(400, 400), "activation": nn.ReLU()}), "kaiming")
    assert deviation(network["layer"].weight) == pytest.approx(math.sqrt(1 / 400), rel=0.03)


@pytest.mark.parametrize("method", ["xavier", "kaiming", "normal", "orthogonal"])
def test_equal_seeds_give_equal_weights_whatever_the_global_generator(method):
    first, second, other = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
    drawn(first, method, seed=5)
    torch.rand(3)
    drawn(second, method, seed=5)
    drawn(other, method, seed=6)
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, other.weight)


# Layers of each kind that is drawn, with fan-in and fan-out counted by hand.
LAYERS = {
    "linear": (lambda: nn.Linear(300, 200), 300, 200),
    "conv1d": (lambda: nn.Conv1d(60, 80, 5), 60 * 5, 80 * 5),
    "conv2d": (lambda: nn.Conv2d(40, 60, 3), 40 * 9, 60 * 9),
    "conv2d-grouped": (lambda: nn.Conv2d(64, 128, 3, groups=2), 32 * 9, 128 * 9),
    "conv3d": (lambda: nn.Conv3d(16, 32, 3), 16 * 27, 32 * 27),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("method", ["xavier", "kaiming", "normal"])
def test_every_kind_of_layer_has_the_deviation_of_the_formula(name, method):
    make, fan_in, fan_out = LAYERS[name]
    weight = drawn(nn.Sequential(make(), nn.ReLU(), nn.Linear(2, 2)), method)[0].weight.detach()
    gain = math.sqrt(2)
    expected = {
        "xavier": gain * math.sqrt(2 / (fan_in + fan_out)),
        "kaiming": gain / math.sqrt(fan_in),
        "normal": 0.02,
    }[method]
    # The deviation of n draws varies by 1 / sqrt(2 n) of itself at most; the layers have 13,824 weights or more.
    assert deviation(weight) == pytest.approx(expected, rel=0.03)
    assert float(weight.mean()) == pytest.approx(0, abs=0.05 * expected)
    if method == "xavier":
        assert float(weight.abs().max()) <= gain * math.sqrt(6 / (fan_in + fan_out))


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer_is_orthogonal_over_its_flattened_filters(name):
    make, _, _ = LAYERS[name]
    weight = drawn(nn.Sequential(make(), nn.ReLU(), nn.Linear(2, 2)), "orthogonal")[0].weight.detach()
    rows = weight.flatten(1)
    assert rows.shape[0] <= rows.shape[1]
    torch.testing.assert_close(rows @ rows.T, 2 * torch.eye(len(rows)), atol=1e-4, rtol=0)
