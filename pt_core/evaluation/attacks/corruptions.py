"""Common corruptions of images (blur, contrast, brightness, JPEG, occlusion) at five severities.

In the spirit of Hendrycks and Dietterich, https://arxiv.org/abs/1903.12261, with severities that scale with
the image's size, so that 8x8 pixels are corrupted about as visibly as 224x224. Every function maps images
(N, C, H, W) float32 in [0, 1] to the same.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pt_core.evaluation.config import Corruption

Images = NDArray[np.float32]

_BLUR_SIGMAS = (0.8, 1.0, 1.2, 1.5, 2.0)  # pixels at 32x32, growing with the root of the side
_CONTRASTS = (0.75, 0.5, 0.4, 0.3, 0.15)  # what is left of the distance to the image's mean
_BRIGHTNESSES = (0.1, 0.2, 0.3, 0.4, 0.5)  # added to the value of HSV
_JPEG_QUALITIES = (80, 50, 30, 15, 7)
_OCCLUDED_SIDES = (0.125, 0.25, 0.375, 0.5, 0.625)  # share of the image's side


def corrupt(
    x: Images,
    corruption: Corruption,
    *,
    severities: Sequence[int],
    input_range: tuple[float, float],
    fill: NDArray[np.float32],
    generator: np.random.Generator,
) -> list[Images]:
    """Return the corrupted images for every severity; what chance decides is drawn once for all of them.

    Args:
        x: (N, C, H, W) float32 in ``input_range``.
        corruption: which one.
        severities: each from 1 to 5.
        input_range: least and greatest legal value.
        fill: what an occluding square shows, per channel, in input units.
        generator: places the occluding squares.
    """
    least, greatest = (np.float32(bound) for bound in input_range)
    width = greatest - least
    unit = (x - least) / width
    if corruption == "occlusion":
        places = generator.random((len(x), 2))
        grey = (fill - least) / width
        found = [occlude(unit, severity, places=places, fill=grey) for severity in severities]
    else:
        found = [_PLAIN[corruption](unit, severity) for severity in severities]
    return [np.clip(images * width + least, least, greatest).astype(np.float32) for images in found]


def blur(x: Images, severity: int) -> Images:
    """Return images under a Gaussian blur whose kernel ends at the border."""
    rows, columns = (_blur_matrix(side, _BLUR_SIGMAS[severity - 1]) for side in x.shape[2:])
    return np.asarray(rows @ x @ columns.T, dtype=np.float32)


def contrast(x: Images, severity: int) -> Images:
    """Return images drawn towards their own mean, channel by channel."""
    mean = x.mean(axis=(2, 3), keepdims=True)
    return np.asarray(mean + np.float32(_CONTRASTS[severity - 1]) * (x - mean), dtype=np.float32)


def brightness(x: Images, severity: int) -> Images:
    """Return images whose value (the greatest channel, as in HSV) is raised, hue and saturation kept."""
    value = x.max(axis=1, keepdims=True)
    raised = np.minimum(value + np.float32(_BRIGHTNESSES[severity - 1]), 1)
    factor = np.divide(raised, value, out=np.zeros_like(value), where=value > 0)
    return np.asarray(np.where(value > 0, x * factor, raised), dtype=np.float32)


def jpeg(x: Images, severity: int) -> Images:
    """Return images written as JPEG and read again; values are rounded to 8 bits on the way."""
    bytes_ = np.rint(x * 255).astype(np.uint8)
    mode = "L" if x.shape[1] == 1 else "RGB"
    found = np.empty_like(x)
    for index, image in enumerate(bytes_):
        pixels = image[0] if mode == "L" else image.transpose(1, 2, 0)
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels), mode=mode).save(
            buffer, format="JPEG", quality=_JPEG_QUALITIES[severity - 1]
        )
        decoded = np.asarray(Image.open(buffer), dtype=np.float32) / 255
        found[index] = decoded[None] if mode == "L" else decoded.transpose(2, 0, 1)
    return found


def occlude(x: Images, severity: int, *, places: NDArray[np.float64], fill: NDArray[np.float32]) -> Images:
    """Return images with one rectangle covered by ``fill``.

    Args:
        x: the images.
        severity: 1 to 5, the share of each side that is covered.
        places: (N, 2) in [0, 1), the upper left corner among all that keep the rectangle inside.
        fill: what it shows, broadcast over (C, H, W).
    """
    inside = np.ones((len(x), 1, 1, 1), dtype=bool)
    for axis, side in enumerate(x.shape[2:]):
        length = max(1, round(_OCCLUDED_SIDES[severity - 1] * side))
        start = np.floor(places[:, axis] * (side - length + 1))[:, None]
        covered = (np.arange(side) >= start) & (np.arange(side) < start + length)
        inside = inside & (covered[:, None, :, None] if axis == 0 else covered[:, None, None, :])
    return np.where(inside, fill, x)


def _blur_matrix(side: int, sigma_at_32: float) -> NDArray[np.float32]:
    """Return the (side, side) matrix of the blur along one axis; each row sums to 1."""
    sigma = sigma_at_32 * (side / 32) ** 0.5
    places = np.arange(side)
    weights = np.exp(-((places[:, None] - places) ** 2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


_PLAIN: dict[Corruption, Callable[[Images, int], Images]] = {
    "blur": blur,
    "contrast": contrast,
    "brightness": brightness,
    "jpeg": jpeg,
}
