"""From one image file to (C, height, width) uint8 by a stated policy, or one sentence why not."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pt_core.data.encoding import ImageDecoding
from pt_core.errors import DataError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded; other formats of Pillow start programs or have no use here."""

SUFFIXES = (".bmp", ".gif", ".jpg", ".jpeg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Names of files that are taken for images."""

_PLAIN = {"RGB": ("RGB", "P", "YCbCr"), "L": ("L", "1")}
"""Pillow's modes with as many channels as are asked for."""

_NO_8_BIT = ("I", "F")
"""Modes (or their beginnings) with more than 8 bits a channel, which Pillow would clip and not scale."""

_SCALE = np.float32(1 / 255)


def decode(content: bytes, decoding: ImageDecoding) -> NDArray[np.uint8]:
    """Return the pixels of an encoded image, upright as its EXIF orientation says.

    Raises:
        DataError: it is truncated, oversized, no image, or has other channels.
    """
    try:
        with warnings.catch_warnings():
            # Our own limit, named below, is checked on the header; Pillow's would print or raise before it.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _refuse(image, decoding)
                # Decodes a large JPEG at a fraction of its size, at least twice what is asked for.
                image.draft(None, (2 * max(decoding.size), 2 * max(decoding.size)))
                upright = ImageOps.exif_transpose(image)
                pixels = np.asarray(_fit(upright.convert(decoding.mode), decoding))
    except UnidentifiedImageError as error:
        raise DataError("no image of a known format") from error
    except Image.DecompressionBombError as error:
        raise DataError("oversized: it has more pixels than any camera gives") from error
    # Decoders raise whatever they like on broken bytes; each of these was seen from Pillow.
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, ZeroDivisionError) as error:
        raise DataError(f"truncated or damaged: {str(error)[:100]}") from error
    return np.ascontiguousarray(pixels.reshape(*decoding.size, -1).transpose(2, 0, 1))


def read_image(path: Path, decoding: ImageDecoding) -> NDArray[np.uint8]:
    """Return the pixels of an image file; see :func:`decode`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from error
    return decode(content, decoding)


def to_unit(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return 8-bit pixels as float32 in [0, 1]."""
    scaled: NDArray[np.float32] = pixels.astype(np.float32) * _SCALE
    return np.minimum(scaled, np.float32(1))


def _refuse(image: Image.Image, decoding: ImageDecoding) -> None:
    width, height = image.size
    if width * height > decoding.max_pixels:
        raise DataError(
            f"oversized: {width} x {height} pixels, expected at most {decoding.max_pixels:,} (images.max_pixels)"
        )
    if image.mode.startswith(_NO_8_BIT):
        raise DataError(f"wrong channels: mode {image.mode} has more than 8 bits, expected {decoding.mode}")
    if not decoding.convert and (image.mode not in _PLAIN[decoding.mode] or "transparency" in image.info):
        raise DataError(
            f"wrong channels: mode {image.mode}, expected {decoding.mode}; images.convert: true converts it"
        )


def _fit(image: Image.Image, decoding: ImageDecoding) -> Image.Image:
    height, width = decoding.size
    if decoding.resize == "stretch":
        return image.resize((width, height), Image.Resampling.BILINEAR)
    if decoding.resize == "crop":
        return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    return ImageOps.pad(image, (width, height), Image.Resampling.BILINEAR)
