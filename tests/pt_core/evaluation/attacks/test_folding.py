import pytest
import torch
from torch import nn

from pt_core.evaluation.attacks.folding import for_attack
from pt_core.modeling.cnn import cnn
from pt_core.modeling.resnet import resnet18


def with_statistics(network):
    """Give every normalisation statistics that matter."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.3)
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    return network


def norms(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


class Apart(nn.Module):
    """A sequence that is taken apart: what comes before the normalisation is used too."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))

    def forward(self, x):
        early = self.layers[0](x)
        return (early + self.layers[1](early)).mean(dim=(2, 3))


@pytest.mark.parametrize("build", [cnn, lambda shape, classes: resnet18(shape, classes, width=4)])
def test_the_copy_computes_the_same_without_any_normalisation(build):
    torch.manual_seed(0)
    network, x = with_statistics(build((3, 16, 16), 5)), torch.rand(4, 3, 16, 16)
    expected = network.eval()(x).detach()
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ready = for_attack(network, x[:2])
    assert norms(ready) == 0 < norms(network)
    assert ready(x) == pytest.approx(expected, abs=1e-5)
    assert not ready.training
    assert not any(parameter.requires_grad for parameter in ready.parameters())
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_sequence_that_is_taken_apart_is_left_whole():
    torch.manual_seed(0)
    network, x = with_statistics(Apart()), torch.rand(4, 1, 8, 8)
    ready = for_attack(network, x[:2])
    assert norms(ready) == 1
    assert ready(x) == pytest.approx(network.eval()(x).detach(), abs=1e-5)


def test_a_table_goes_through_as_it_is():
    network, x = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)), torch.rand(4, 6)
    assert for_attack(network, x[:2])(x) == pytest.approx(network.eval()(x).detach(), abs=1e-6)
