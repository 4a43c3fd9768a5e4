"""The batches that parity compares on: batch sizes that fail differently, and every size of a dynamic axis."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.plugin import EXPORT_BATCH
from pt_core.errors import DataError
from pt_core.modeling.axes import axis_shapes, resize
from pt_core.modeling.spec import DynamicAxis

BATCH_SIZES = (1, 2, 3, 7, EXPORT_BATCH, 64)
"""A batch baked in at export is exact at one size and wrong at another, so one size proves nothing.

1 is what exporters specialise on; 2 and 3 are the least others; 7 divides nothing; the export's own size tells a
baked batch from a graph that is wrong throughout; 64 is large.
"""

AXIS_BATCH_SIZE = 3
"""Samples in the batches of resized samples: neither 1 nor the export's."""

NUM_SAMPLES = max(BATCH_SIZES) + len(BATCH_SIZES)
"""Samples that the grid reads at most; fewer are repeated."""


class Batch(NamedTuple):
    """One batch of the grid."""

    inputs: NDArray[np.float32]
    """(N, *sample shape) float32."""
    sample_shape: tuple[int, ...] | None
    """Shape of one sample where it is not the usual one."""

    @property
    def where(self) -> str:
        """How messages call it."""
        size = f"batch size {len(self.inputs)}"
        return size if self.sample_shape is None else f"{size}, samples {self.sample_shape}"


def make_grid(samples: NDArray[np.float32], axes: tuple[DynamicAxis, ...] = ()) -> tuple[Batch, ...]:
    """Return the batches to compare on.

    Args:
        samples: (N, *input_shape) float32; started again where a batch is larger than N.
        axes: axes of one sample whose size may vary; samples are tiled or cropped to other sizes.

    Raises:
        DataError: there is no sample.
    """
    if not len(samples):
        raise DataError("parity: no samples to compare on, expected at least one")
    batches = [Batch(_take(samples, size, offset), None) for offset, size in enumerate(BATCH_SIZES)]
    for shape in axis_shapes(samples.shape[1:], axes):
        resized = resize(_take(samples, AXIS_BATCH_SIZE, 0), shape)
        batches.append(Batch(resized, shape))
    return tuple(batches)


def _take(samples: NDArray[np.float32], size: int, offset: int) -> NDArray[np.float32]:
    """Return ``size`` samples from ``offset`` on, starting again at the end; each batch begins elsewhere."""
    return np.ascontiguousarray(samples[(offset + np.arange(size)) % len(samples)])
