"""The networks that come with the product map any batch of their input to one row of logits each."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pt_core.modeling.cnn import cnn
from pt_core.modeling.mlp import mlp
from pt_core.modeling.resnet import resnet18


@pytest.mark.parametrize("build", [cnn, mlp, resnet18])
@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 13, 9), (3, 64, 64)])
def test_every_image_size_gives_a_row_of_logits_per_sample(build, input_shape):
    network = build(input_shape, 7).eval()
    with torch.inference_mode():
        assert network(torch.rand(3, *input_shape)).shape == (3, 7)


def test_a_table_goes_through_fully_connected_layers():
    assert mlp((5,), 3)(torch.rand(2, 5)).shape == (2, 3)


@pytest.mark.parametrize("build", [cnn, resnet18])
def test_a_table_is_no_image(build):
    with pytest.raises(ValueError, match=r"expected \(C, H, W\)"):
        build((5,), 3)


def test_the_size_of_resnet18_is_the_published_one():
    # 11,689,512 weights for 1000 classes of 3-channel images: torchvision's table of weights, ResNet18_Weights.
    assert sum(p.numel() for p in resnet18((3, 224, 224), 1000).parameters()) == 11_689_512


def test_the_convolutional_network_has_a_linear_layer_worth_quantizing():
    widths = [layer.out_features for layer in cnn((1, 8, 8), 10).modules() if isinstance(layer, nn.Linear)]
    assert max(widths) >= 64


def test_dropout_is_off_in_evaluation():
    network = mlp((5,), 3, dropout=0.5).eval()
    x = torch.rand(2, 5)
    assert torch.equal(network(x), network(x))
    assert not torch.equal(network.train()(x), network(x))
