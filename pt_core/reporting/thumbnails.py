"""A sample small enough for a page: an image as a ``data:`` address, a table's row in words."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SIDE = 72
"""Pixels of the longer side; larger images are made smaller."""
MAX_VALUES = 8
"""Values of a row that are written out."""


def thumbnail(sample: NDArray[np.float32], input_range: tuple[float, float] | None) -> str:
    """Return one (C, H, W) image in input units as a small PNG or JPEG inside a ``data:`` address.

    One channel is grey, three are RGB; of any other number the first is shown.
    """
    low, high = input_range or (float(sample.min()), float(sample.max()))
    shares = (sample - low) / (high - low) if high > low else np.zeros_like(sample)
    pixels = (np.clip(shares, 0, 1) * 255).round().astype(np.uint8)
    image = Image.fromarray(np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0])
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    # A digit of 8 pixels must stay sharp; of a photograph a JPEG is a tenth of the bytes.
    form = "PNG" if max(sample.shape[1:]) <= MAX_SIDE else "JPEG"
    stream = io.BytesIO()
    image.save(stream, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


def describe_row(sample: NDArray[np.float32], names: Sequence[str] = ()) -> str:
    """Return the first values of a row, by their names where there are any, and how many there are more."""
    values = sample.ravel()
    named = [f"{name} " for name in names] or [""] * values.size
    cells = zip(named[:MAX_VALUES], values[:MAX_VALUES], strict=True)
    shown = ", ".join(f"{name}{value:.4g}" for name, value in cells)
    hidden = values.size - MAX_VALUES
    return f"{shown} and {hidden} more" if hidden > 0 else shown
