"""Batches are changed as they are read, in the same way whichever batches a run makes of the samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import digits

from pt_core.data.augmentation import Augmentation
from pt_core.data.dataset import load_split
from pt_core.errors import ConfigError
from pt_core.training.augmented import augmented
from pt_core.training.batches import make_fetch
from pt_core.training.classes import balanced_order, showings

CHANGES = tuple(Augmentation(name=name) for name in ("horizontal-flip", "rotate", "noise"))

ALWAYS = (Augmentation(name="noise", probability=1.0),)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return digits(tmp_path_factory.mktemp("store"))


def make(dataset, transforms, *, seed=0, channels_last=False):
    samples = load_split(dataset, "train")
    fetch = make_fetch(samples, device="cpu", channels_last=channels_last)
    return fetch, augmented(fetch, transforms, dataset=dataset, ids=samples.ids, seed=seed)


def test_a_run_that_goes_on_in_other_batches_sees_the_same_samples(dataset):
    _, of_epoch = make(dataset, CHANGES)
    rows = torch.arange(100)
    whole, y = of_epoch(3)(rows)
    _, again = make(dataset, CHANGES)
    parts = [again(3)(rows[start : start + 7])[0] for start in range(0, 100, 7)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(y, torch.from_numpy(load_split(dataset, "train").y[:100].copy()))


def test_every_epoch_and_every_seed_changes_them_in_another_way(dataset):
    _, of_epoch = make(dataset, CHANGES)
    _, other = make(dataset, CHANGES, seed=1)
    rows = torch.arange(50)
    first = of_epoch(1)(rows)[0]
    assert not torch.equal(of_epoch(2)(rows)[0], first)
    assert not torch.equal(other(1)(rows)[0], first)


def test_without_changes_the_batches_are_read_as_they_are(dataset):
    fetch, of_epoch = make(dataset, ())
    rows = torch.tensor([5, 0, 7])
    for found, expected in zip(of_epoch(1)(rows + len(dataset_ids(dataset))), fetch(rows), strict=True):
        assert torch.equal(found, expected)


def dataset_ids(dataset):
    return load_split(dataset, "train").ids


def test_a_sample_that_an_epoch_shows_again_is_changed_in_another_way(dataset):
    _, of_epoch = make(dataset, ALWAYS)
    rows, num = torch.arange(50), len(dataset_ids(dataset))
    (first, y), (second, same_y), (third, _) = (of_epoch(1)(rows + showing * num) for showing in range(3))
    assert torch.equal(y, same_y)
    for one, other in ((first, second), (second, third), (first, third)):
        assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.equal(of_epoch(1)(rows + num)[0], second)


def test_a_balanced_epoch_shows_a_rare_sample_in_many_ways(dataset):
    samples = load_split(dataset, "train")
    rare = int(np.argmax(samples.y == 3))
    y = np.where(np.arange(len(samples.y)) == rare, 1, 0)
    order = showings(
        balanced_order(torch.from_numpy(y), generator=torch.Generator().manual_seed(0)), num_samples=len(y)
    )
    shown = order[order % len(y) == rare]
    assert len(shown) > 400
    _, of_epoch = make(dataset, ALWAYS)
    seen = of_epoch(1)(shown[:100])[0].flatten(1)
    assert len(torch.unique(seen, dim=0)) == 100


def test_the_memory_format_of_a_batch_is_kept(dataset):
    _, of_epoch = make(dataset, CHANGES, channels_last=True)
    x, _ = of_epoch(1)(torch.arange(8))
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_changes_that_do_not_fit_are_refused_before_the_first_batch(dataset):
    with pytest.raises(ConfigError, match="1 of 1 do not fit samples of shape"):
        make(dataset, (Augmentation(name="saturation"),))
