import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from pt_core.evaluation.attacks.corruptions import blur, brightness, contrast, corrupt, occlude

SHAPES = [(1, 8, 8), (3, 32, 32), (3, 40, 64)]
PLAIN = ("blur", "contrast", "brightness", "jpeg", "occlusion")


def images(shape, size=6):
    """Smooth pictures with an edge, as photographs have."""
    generator = np.random.default_rng(0)
    rough = gaussian_filter(generator.random((size, *shape)), (0, 0, 1, 1))
    rough[..., shape[-1] // 2 :] += 0.4
    return ((rough - rough.min()) / (rough.max() - rough.min())).astype(np.float32)


def corrupted(x, corruption, *, input_range=(0.0, 1.0), seed=0):
    fill = np.full((x.shape[1], 1, 1), np.mean(input_range), np.float32)
    return corrupt(
        x,
        corruption,
        severities=range(1, 6),
        input_range=input_range,
        fill=fill,
        generator=np.random.default_rng(seed),
    )


@pytest.mark.parametrize("corruption", PLAIN)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_severity_changes_images_more_and_leaves_no_value_outside_the_range(corruption, shape):
    x = images(shape)
    found = corrupted(x, corruption)
    change = [np.abs(severity - x).mean() for severity in found]
    assert change[0] > 1e-4
    assert change == sorted(change)
    assert change[4] > 1.5 * change[0]
    for severity in found:
        assert severity.shape == x.shape
        assert severity.dtype == np.float32
        assert 0 <= severity.min() <= severity.max() <= 1


@pytest.mark.parametrize("corruption", PLAIN)
def test_images_of_another_range_are_corrupted_alike(corruption):
    x = images((3, 16, 16))
    unit = corrupted(x, corruption)
    wide = corrupted(x * 255 - 100, corruption, input_range=(-100.0, 155.0))
    for one, other in zip(unit, wide, strict=True):
        # JPEG rounds to 8 bits, and a value on the edge may round the other way.
        assert np.median(np.abs((other + 100) / 255 - one)) < 1e-5


def test_blur_is_the_gaussian_filter_away_from_the_border():
    x = images((3, 32, 32))
    expected = gaussian_filter(x.astype(np.float64), (0, 0, 1.2, 1.2), truncate=8)
    assert blur(x, 3)[..., 8:-8, 8:-8] == pytest.approx(expected[..., 8:-8, 8:-8], abs=1e-5)


def test_blur_keeps_an_even_image_even():
    assert blur(np.full((2, 1, 8, 8), 0.7, np.float32), 5) == pytest.approx(0.7, abs=1e-6)


def test_contrast_keeps_each_channels_mean_and_shrinks_its_deviation():
    x = images((3, 16, 16))
    found = contrast(x, 3)
    assert found.mean(axis=(2, 3)) == pytest.approx(x.mean(axis=(2, 3)), abs=1e-6)
    assert found.std(axis=(2, 3)) == pytest.approx(0.4 * x.std(axis=(2, 3)), abs=1e-5)


def test_brightness_raises_the_value_of_hsv_and_keeps_the_hue():
    x = np.array(
        [[[[0.2]], [[0.4]], [[0.1]]], [[[0.0]], [[0.0]], [[0.0]]], [[[0.9]], [[0.0]], [[0.45]]]], np.float32
    )
    found = brightness(x, 2)[:, :, 0, 0]
    assert found == pytest.approx(np.array([[0.3, 0.6, 0.15], [0.2, 0.2, 0.2], [1, 0, 0.5]]), abs=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_a_jpeg_file_of_that_quality_holds(channels):
    x = images((channels, 16, 24), size=1)
    pixels = np.rint(x[0] * 255).astype(np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(pixels[0] if channels == 1 else np.moveaxis(pixels, 0, 2))
    image.save(buffer, "JPEG", quality=30)
    read = np.asarray(Image.open(buffer)).reshape(16, 24, channels)
    assert corrupted(x, "jpeg")[2][0] == pytest.approx(np.moveaxis(read, 2, 0) / 255, abs=1e-6)


def test_occlusion_covers_one_rectangle_anywhere_inside_the_image():
    x = np.ones((300, 1, 8, 16), np.float32)
    places = np.random.default_rng(0).random((300, 2))
    found = occlude(x, 3, places=places, fill=np.zeros((1, 1, 1), np.float32))[:, 0]
    assert ((found == 0).sum(axis=(1, 2)) == 3 * 6).all()
    assert set((found == 0).any(axis=2).sum(axis=1)) == {3}
    assert {int(image.any(axis=1).argmin()) for image in found} == {0}
    corners = {tuple(np.argwhere(image == 0)[0]) for image in found}
    assert {row for row, _ in corners} == set(range(6))
    assert {column for _, column in corners} == set(range(11))


def test_chance_is_seeded_and_drawn_once_for_all_severities():
    x = images((1, 8, 8))
    first, again, other = (corrupted(x, "occlusion", seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
