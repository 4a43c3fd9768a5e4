"""Training that starts from a checkpoint, or leaves parts of a network as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from pt_core.artifacts.checkpoint import WEIGHTS, Checkpoint
from pt_core.artifacts.checkpoint_files import load_network, load_training_state, open_checkpoint
from pt_core.bundle import Bundle
from pt_core.errors import ConfigError, IntegrityError
from pt_core.modeling.spec import ModelConfig, WarmStart
from pt_core.training.fit import train
from pt_core.training.requests import TrainRequest

HIDDEN = [16, 8]
BODY = ("1.weight", "1.bias", "3.weight", "3.bias")
"""Parameters of an mlp with two hidden layers but for the last one's."""


def mlp(**changes):
    settings = {"target": "pt_core.modeling.mlp:mlp", "arguments": {"hidden": HIDDEN}, **changes}
    return ModelConfig.model_validate(settings)


def state(checkpoint):
    """Return the weights under the names of the network's own code."""
    whole = load_network(checkpoint, checkpoint.spec).state_dict()
    return {name.removeprefix("network."): value for name, value in whole.items()}


@pytest.fixture
def source(make_request) -> Checkpoint:
    return train(make_request(model=mlp(), epochs=1))


@pytest.fixture
def start_from(make_request):
    """Return a function that asks for one epoch of steps too small to change a weight visibly."""

    def make(source, *, strictness=None, **settings):
        plain = make_request(model=mlp(), epochs=1, learning_rate=1e-12, weight_decay=0.0, seed=3)
        warm = WarmStart(checkpoint=source.directory, **(strictness or {}))
        model = mlp(warm_start=warm, **settings)
        return TrainRequest.model_validate(
            {**plain.model_dump(), "model": model.model_dump(), "warm_start": as_bundle(source)}
        )

    return make


def as_bundle(checkpoint):
    return checkpoint.model_dump(include=set(Bundle.model_fields))


def test_every_weight_is_taken_and_the_checkpoint_names_its_source(source, start_from):
    checkpoint = train(start_from(source))
    before, after = state(source), state(checkpoint)
    assert checkpoint.seed != source.seed
    for name in before:
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)
    started = open_checkpoint(Path(checkpoint.directory)).warm_start
    assert (started.digest, started.strict) == (source.digest, True)
    assert started.report.loaded == (*BODY, "5.weight", "5.bias")
    assert (started.report.problems, started.report.loaded_fraction) == ((), 1.0)


def test_of_another_network_what_fits_is_taken_and_every_other_tensor_reported(source, start_from):
    request = start_from(
        source, strictness={"min_loaded_fraction": 0.5}, arguments={"hidden": [16, 8, 4]}, freeze=BODY
    )
    checkpoint = train(request)
    report = checkpoint.warm_start.report
    assert report.loaded == BODY
    assert report.missing == ("7.weight", "7.bias")
    assert report.unexpected == ()
    assert report.mismatched == (
        "5.weight: shape (10, 8), expected (4, 8)",
        "5.bias: shape (10,), expected (4,)",
    )
    body, head = 64 * 16 + 16 + 16 * 8 + 8, (8 * 4 + 4) + (4 * 10 + 10)
    assert report.loaded_fraction == pytest.approx(body / (body + head))
    assert (checkpoint.num_frozen_parameters, checkpoint.num_parameters) == (body, head)
    assert checkpoint.flops_per_sample == 2 * (64 * 16 + 16 * 8 + 8 * 4 + 4 * 10)
    before, after = state(source), state(checkpoint)
    assert all(torch.equal(before[name], after[name]) for name in BODY)
    assert checkpoint.frozen == BODY
    assert len(load_training_state(checkpoint)["optimizer"]["state"]) == 4


@pytest.mark.parametrize(
    ("strictness", "expected"),
    [
        (
            {"min_loaded_fraction": 0.99},
            r"only \d\d\.\d% of the weights .* at least 99\.0%.*lower model\.warm_start",
        ),
        ({}, r"4 tensor\(s\) do not fit.*to load only what fits, set model\.warm_start\.min_loaded_fraction"),
    ],
)
def test_what_does_not_fit_enough_is_refused_with_every_tensor(source, start_from, strictness, expected):
    request = start_from(source, strictness=strictness, arguments={"hidden": [16, 8, 4]})
    with pytest.raises(ConfigError, match=expected) as caught:
        train(request)
    assert {line.partition(":")[0] for line in caught.value.details} == {
        "5.weight",
        "5.bias",
        "7.weight",
        "7.bias",
    }


def test_the_normalisation_is_that_of_the_new_data(make_request, start_from, digits):
    plain = train(make_request(model=mlp(normalize=False), epochs=1))
    checkpoint = train(start_from(plain))
    assert checkpoint.warm_start.report.problems == ()
    assert state(checkpoint)["mean"].flatten().tolist() == pytest.approx(digits.mean)


def test_a_damaged_source_is_refused(source, start_from):
    request = start_from(source)
    path = Path(source.directory) / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="against its manifest"):
        train(request)


def test_another_checkpoint_in_the_same_place_is_another_request(source, start_from, make_request):
    request = start_from(source)
    other = train(make_request(model=mlp(), epochs=1, seed=9))
    swapped = request.model_copy(
        update={"warm_start": request.warm_start.model_copy(update={"digest": other.digest})}
    )
    assert swapped.content_digest() != request.content_digest()
    shutil.rmtree(source.directory)
    shutil.copytree(other.directory, source.directory)
    with pytest.raises(IntegrityError, match="another bundle took its place"):
        train(request)


def test_a_warm_start_without_its_bundle_is_refused_and_not_left_out(make_request):
    with pytest.raises(ValidationError, match=r"expected the bundle of model\.warm_start\.checkpoint"):
        make_request(model=mlp(warm_start={"checkpoint": "somewhere"}))
