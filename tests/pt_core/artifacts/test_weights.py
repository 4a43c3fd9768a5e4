from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pt_core.artifacts.weights import load_partially, state_arrays
from pt_core.errors import IntegrityError


def network(num_classes: int = 2) -> nn.Sequential:
    # Weight elements: 6 * 4 + 4 = 28 in the body, 4 * num_classes + num_classes in the head.
    return nn.Sequential(nn.Linear(6, 4), nn.Linear(4, num_classes))


def test_half_precision_is_stored_as_float32_without_loss() -> None:
    half = network().to(torch.bfloat16)
    for name, array in state_arrays(half).items():
        assert array.dtype == np.float32
        assert torch.equal(torch.from_numpy(array), half.state_dict()[name].float())


def test_a_scalar_counter_keeps_its_type_and_shape() -> None:
    array = state_arrays(nn.BatchNorm1d(2))["num_batches_tracked"]
    assert (array.dtype, array.shape) == (np.int64, ())


def test_a_body_is_loaded_and_a_new_head_left_as_it_was() -> None:
    source, target = network(2), network(5)
    head = target[1].weight.detach().clone()
    arrays = {**state_arrays(source), "old.bias": np.ones(1, np.float32)}
    report = load_partially(target, arrays, min_fraction=0.5)
    assert torch.equal(target[0].weight, source[0].weight)
    assert torch.equal(target[1].weight, head)
    assert report.loaded == ("0.weight", "0.bias")
    assert report.missing == ()
    assert report.unexpected == ("old.bias",)
    assert report.mismatched == (
        "1.weight: shape (2, 4), expected (5, 4)",
        "1.bias: shape (2,), expected (5,)",
    )
    assert report.loaded_fraction == pytest.approx(28 / 53)


def test_too_little_that_fits_is_refused_and_loads_nothing() -> None:
    source, target = network(2), network(5)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(IntegrityError, match=r"only 52\.8% .* at least 60\.0%"):
        load_partially(target, state_arrays(source), min_fraction=0.6)
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


def test_missing_names_are_reported() -> None:
    arrays = state_arrays(network())
    del arrays["0.bias"]
    report = load_partially(network(), arrays, min_fraction=0.1)
    assert report.missing == ("0.bias",)
    assert report.loaded_fraction == pytest.approx(34 / 38)
