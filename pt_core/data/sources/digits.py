"""Source "digits": scikit-learn's 1,797 real handwritten digits, 8x8 pixels, on every machine."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from pt_core.data.source import RawData

_GREATEST_PIXEL = 16


def read_digits() -> RawData:
    """Return x (1797, 1, 8, 8) float32 in [0, 1] and y (1797,) in 0..9."""
    bunch = load_digits()
    x = (bunch.images / _GREATEST_PIXEL).astype(np.float32)[:, np.newaxis]
    labels = tuple(str(digit) for digit in range(10))
    return RawData(x=x, y=bunch.target, labels=labels, input_range=(0.0, 1.0))
