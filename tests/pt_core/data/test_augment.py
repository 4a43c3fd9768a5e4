"""A sample is changed by its seed, epoch and id alone, by as much as was asked for, and never out of its range."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from pt_core.data.augment import Scale, _Draws, _key, augment
from pt_core.data.augmentation import MEANINGS, Augmentation, check_augmentation
from pt_core.data.dataset import DatasetInfo
from pt_core.errors import ConfigError

SCALE = Scale((0.0, 1.0), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
EVERYTHING = tuple(Augmentation(name=name, probability=0.7) for name in MEANINGS)
IDS = torch.arange(24) * 7


@pytest.fixture(scope="module")
def x():
    return torch.rand(24, 3, 12, 10, generator=torch.Generator().manual_seed(0))


def changed(x, transforms=EVERYTHING, *, ids=IDS, seed=1, epoch=1, scale=SCALE):
    return augment(x, transforms, seed=seed, epoch=epoch, ids=ids, scale=scale)


def only(name, strength=None, probability=1.0):
    return (Augmentation(name=name, strength=strength, probability=probability),)


def test_a_sample_is_changed_in_the_same_way_in_whatever_batch_it_stands(x):
    whole = changed(x)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    assert torch.equal(changed(x[order], ids=IDS[order]), whole[order])
    for start, end in ((0, 1), (1, 9), (9, 24)):
        assert torch.equal(changed(x[start:end], ids=IDS[start:end]), whole[start:end])


def test_nothing_but_seed_epoch_and_id_decides(x):
    first = changed(x)
    torch.rand(5)
    assert torch.equal(changed(x), first)
    for other in (changed(x, seed=2), changed(x, epoch=2), changed(x, ids=IDS + 1)):
        assert (other != first).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("name", MEANINGS)
def test_every_change_changes_and_stays_in_the_range(x, name):
    found = changed(x, only(name))
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    # A rectangle to erase may be smaller than a pixel.
    assert (found != x).flatten(1).any(dim=1).double().mean() > (0.8 if name == "erase" else 0.99)
    assert 0 <= found.min() <= found.max() <= 1


def test_the_share_that_is_changed_is_the_probability():
    x = torch.rand(2000, 1, 4, 4)
    found = changed(x, only("horizontal-flip", probability=0.3), ids=torch.arange(2000))
    share = (found != x).flatten(1).any(dim=1).double().mean()
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / 2000) ** 0.5


def test_flips_are_numpys(x):
    np.testing.assert_array_equal(changed(x, only("horizontal-flip")), np.flip(x.numpy(), 3))
    np.testing.assert_array_equal(changed(x, only("vertical-flip")), np.flip(x.numpy(), 2))


def test_a_turn_by_half_a_circle_is_two_flips():
    x = torch.rand(400, 1, 9, 9)
    found = changed(x, only("rotate", 180), ids=torch.arange(400))
    turned = np.flip(x.numpy(), (2, 3))
    errors = np.abs(found.numpy() - turned).max(axis=(1, 2, 3))
    # The angles are spread evenly over the circle: some of them are near either end.
    assert np.sort(errors)[2] < 0.2
    assert np.median(errors) > 0.3


def test_a_shift_moves_by_no_more_than_its_share():
    x = torch.zeros(300, 1, 21, 21)
    x[:, :, 10, 10] = 1
    found = changed(x, only("shift", 0.2), ids=torch.arange(300)).numpy()[:, 0]
    mass = found.sum(axis=(1, 2))
    row = (found.sum(axis=2) * np.arange(21)).sum(axis=1) / mass
    column = (found.sum(axis=1) * np.arange(21)).sum(axis=1) / mass
    for moved in (row - 10, column - 10):
        assert np.abs(moved).max() <= 0.2 * 21 + 1e-3
        assert np.abs(moved).max() > 0.19 * 21
        assert abs(moved.mean()) < 0.5


def test_an_erased_rectangle_is_the_mean_and_no_larger_than_asked(x):
    found = changed(x, only("erase", 0.25))
    is_changed = (found != x).all(dim=1)
    share = is_changed.double().mean(dim=(1, 2))
    # Pixels at an edge count by their middles: a rectangle of 0.25 of 12 x 10 pixels may cover a few more.
    assert 0 < share.max() < 0.25 + 0.12
    means = torch.tensor(SCALE.mean).reshape(3, 1)
    assert torch.equal(found.permute(1, 0, 2, 3)[:, is_changed], means.expand(3, int(is_changed.sum())))


def test_noise_has_the_deviation_asked_for_in_units_of_the_range_or_of_each_column():
    x = torch.full((400, 3, 8, 8), 0.5)
    found = changed(x, only("noise", 0.05), ids=torch.arange(400)) - x
    assert found.std().item() == pytest.approx(0.05, rel=0.02)
    rows = torch.zeros(4000, 2)
    found = changed(rows, only("noise", 0.1), ids=torch.arange(4000), scale=Scale(None, (0, 0), (1.0, 50.0)))
    np.testing.assert_allclose(found.std(dim=0), [0.1, 5.0], rtol=0.05)


def test_a_blur_keeps_the_mean_and_brightness_and_contrast_move_it_as_they_say():
    x = torch.rand(200, 1, 16, 16) * 0.2 + 0.4
    ids = torch.arange(200)
    blurred = changed(x, only("blur", 2), ids=ids)
    assert (blurred.std(dim=(2, 3)) < x.std(dim=(2, 3))).all()
    moved = (changed(x, only("brightness", 0.1), ids=ids) - x).flatten(1)
    assert moved.std(dim=1).max() < 1e-6
    assert 0.095 < moved.abs().max() <= 0.1 + 1e-6
    stretched = changed(x, only("contrast", 0.5), ids=ids)
    ratio = stretched.std(dim=(2, 3)) / x.std(dim=(2, 3))
    assert 0.5 <= ratio.min() < 0.55
    assert 1.45 < ratio.max() <= 1.5 + 1e-5


def test_draws_are_uniform_normal_and_uncorrelated():
    draws = _Draws(_key(0, 1, 2), torch.arange(50_000), torch.zeros(50_000, dtype=torch.int64))
    uniform = draws.uniform(3).double()
    assert stats.kstest(uniform[:, 0], "uniform").pvalue > 1e-3
    assert stats.kstest(draws.normal(1)[:, 0].double(), "norm").pvalue > 1e-3
    correlation = np.corrcoef(np.vstack([uniform.T, np.roll(uniform[:, 0], 1)]))
    assert np.abs(correlation - np.eye(4)).max() < 5 / 50_000**0.5


def test_random_numbers_are_those_of_the_published_generator():
    # The first outputs of SplitMix64 from the state 0: a sample whose state is 0 must give their upper 24 bits.
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    draws = _Draws(0, torch.tensor([0]), torch.tensor([0]))
    draws._states = torch.tensor([0])
    assert draws.uniform(3)[0].tolist() == [(number >> 40) / 2**24 for number in published]


def info(shape, input_range):
    return DatasetInfo(
        source="arrays", fingerprint="0", labels=("a", "b"), input_shape=shape, input_range=input_range,
        mean=(0.0,) * shape[0], std=(1.0,) * shape[0], splits=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shape", "input_range", "expected"),
    [
        ("rotate", (5,), None, "rotate: needs images; of a table only noise"),
        ("saturation", (1, 8, 8), (0, 1), "saturation: needs 3 channels, these images have 1"),
        ("contrast", (3, 8, 8), None, "contrast: needs to know black and white; set data.input_range"),
    ],
)
def test_a_change_that_means_nothing_for_the_samples_is_refused(name, shape, input_range, expected):
    with pytest.raises(ConfigError) as caught:
        check_augmentation([*only("noise"), *only(name)], info(shape, input_range))
    assert caught.value.details == (expected,)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "mirror"}, "Input should be 'horizontal-flip'"),
        ({"name": "horizontal-flip", "strength": 1}, "horizontal-flip has no strength"),
        ({"name": "rotate", "strength": 400}, r"strength 400, expected at most 180 \(degrees"),
        ({"name": "rotate", "degrees": 4}, "degrees"),
    ],
)
def test_unknown_changes_and_options_are_refused_by_name(settings, expected):
    with pytest.raises(ValidationError, match=expected):
        Augmentation.model_validate(settings)
