"""Frozen parameters stay as they are to the bit, cost no optimizer state, and a mistaken pattern is named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pt_core.errors import ConfigError
from pt_core.modeling.freeze import freeze, training_mode
from pt_core.modeling.normalized import Normalized
from pt_core.modeling.spec import ModelSpec


class Net(nn.Module):
    """A backbone with both kinds of batch normalisation, and a head with one of its own."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8, affine=False)),
            nn.Dropout(0.5),
        )
        self.head = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 3))

    def forward(self, x):
        return self.head(self.backbone(x))


@pytest.fixture
def network():
    torch.manual_seed(0)
    spec = ModelSpec(
        target="tests:Net",
        arguments={},
        input_shape=(6,),
        num_classes=3,
        mean=(0.5,) * 6,
        std=(2.0,) * 6,
        input_range=None,
    )
    return Normalized(Net(), spec=spec)


def trained(network, steps=5):
    """Train as the pipeline does: training mode, then AdamW on what takes a gradient."""
    generator = torch.Generator().manual_seed(1)
    training_mode(network)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], weight_decay=0.1)
    for _ in range(steps):
        x, y = torch.rand(16, 6, generator=generator), torch.arange(16) % 3
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def test_names_are_those_of_the_authors_code(network):
    assert freeze(network, ["backbone.2.*"]) == ("backbone.2.0.weight", "backbone.2.0.bias")
    assert not network.network.backbone[2][0].weight.requires_grad
    assert network.network.backbone[0].weight.requires_grad


def test_a_frozen_backbone_keeps_every_bit_its_batch_statistics_included(network):
    freeze(network, ["backbone.*"])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained(network)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {
        "network.head.0.weight",
        "network.head.0.bias",
        "network.head.0.running_mean",
        "network.head.0.running_var",
        "network.head.0.num_batches_tracked",
        "network.head.1.weight",
        "network.head.1.bias",
    }


def test_batch_normalisation_that_is_frozen_in_part_only_goes_on_counting(network):
    freeze(network, ["backbone.0.*", "backbone.1.weight"])
    training_mode(network)
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm1d)]
    assert all(norm.training for norm in norms)


def test_dropout_of_a_frozen_part_stays_on(network):
    freeze(network, ["backbone.*"])
    training_mode(network)
    assert network.network.backbone[3].training


def test_frozen_parameters_take_no_optimizer_state(network):
    freeze(network, ["backbone.*"])
    state = trained(network, steps=1).state_dict()["state"]
    assert len(state) == len(list(network.network.head.parameters()))


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["bakcbone.*"], r"freeze\[0\]: 'bakcbone\.\*' matches no name; near are backbone\.\*"),
        (["backbone.*", "backbone"], r"freeze\[1\]: 'backbone' matches no name; did you mean backbone\.\*\?"),
        (["qqq"], r"'qqq' matches no name; the first of the 10 names: backbone\.0\.weight"),
        (["*"], r"all 10 parameters are frozen.*leave at least the last layer out"),
        (["backbone.*", "head.*"], "all 10 parameters are frozen"),
    ],
)
def test_a_pattern_for_nothing_or_for_everything_is_refused(network, patterns, expected):
    with pytest.raises(ConfigError, match=expected):
        freeze(network, patterns)


def test_no_pattern_freezes_nothing(network):
    assert freeze(network, ()) == ()
    assert all(parameter.requires_grad for parameter in network.parameters())
