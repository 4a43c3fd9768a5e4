"""The batches that parity compares on: batch sizes that fail differently, and every size of a dynamic axis."""

from __future__ import annotations

from typing import Literal, NamedTuple

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
    kind: Literal["usual", "resized", "unlike"] = "usual"
    """Samples as they are, samples of another size, or inputs unlike any sample."""

    @property
    def sample_shape(self) -> tuple[int, ...] | None:
        """Shape of one sample where it is not the usual one."""
        return self.inputs.shape[1:] if self.kind == "resized" else None

    @property
    def where(self) -> str:
        """How messages call it."""
        notes = {
            "usual": "",
            "resized": f", samples {self.inputs.shape[1:]}",
            "unlike": ", inputs unlike the data",
        }
        return f"batch size {len(self.inputs)}{notes[self.kind]}"


def make_grid(
    samples: NDArray[np.float32],
    axes: tuple[DynamicAxis, ...] = (),
    *,
    example: NDArray[np.float32] | None = None,
) -> tuple[Batch, ...]:
    """Return the batches to compare on.

    Args:
        samples: (N, *input_shape) float32; started again where a batch is larger than N.
        axes: axes of one sample whose size may vary; samples are tiled or cropped to other sizes.
        example: (M, *input_shape) float32, what converters export with; taken for the batch of that size, so that
            a graph which is right for its example alone is known as that.

    Raises:
        DataError: there is no sample.
    """
    if not len(samples):
        raise DataError("parity: no samples to compare on, expected at least one")
    batches = []
    for offset, size in enumerate(BATCH_SIZES):
        if size == EXPORT_BATCH and example is not None:
            batches.append(Batch(_take(example, size, 0)))
        else:
            batches.append(Batch(_take(samples, size, offset)))
    for shape in axis_shapes(samples.shape[1:], axes):
        batches.append(Batch(resize(_take(samples, AXIS_BATCH_SIZE, 0), shape), "resized"))
    return (*batches, *(Batch(inputs, "unlike") for inputs in _unlike(samples)))


def in_export_batches(batch: Batch) -> tuple[Batch, ...]:
    """Return the samples of a batch in batches of the export's size, the last filled up with the first samples."""
    starts = range(0, len(batch.inputs), EXPORT_BATCH)
    return tuple(Batch(_take(batch.inputs, EXPORT_BATCH, start), batch.kind) for start in starts)


def _unlike(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Return inputs in the range of the samples that look like none: a branch that no sample takes is taken here.

    One batch of negatives, shuffled samples and noise, one of faint samples; none is constant, which a normalisation
    over a sample would blow up to rounding errors.
    """
    base = _take(samples, EXPORT_BATCH, 0)
    least, greatest = samples.min(), samples.max()
    generator = np.random.default_rng(0)
    negative, shuffled, noise, _ = np.split(base, 4)
    shuffled = generator.permuted(shuffled.reshape(len(shuffled), -1), axis=1).reshape(shuffled.shape)
    noise = generator.random(noise.shape, dtype=np.float32) * (greatest - least) + least
    strange = np.concatenate([least + greatest - negative, shuffled, noise, noise[::-1]])
    return strange, least + (base - least) * np.float32(0.1)


def _take(samples: NDArray[np.float32], size: int, offset: int) -> NDArray[np.float32]:
    """Return ``size`` samples from ``offset`` on, starting again at the end; each batch begins elsewhere."""
    return np.ascontiguousarray(samples[(offset + np.arange(size)) % len(samples)])
