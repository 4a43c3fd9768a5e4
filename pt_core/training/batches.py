"""Batches of one split on the training device, kept there whole when it is small."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from pt_core.data.dataset import Samples
from pt_core.training.read_ahead import ReadAhead

MAX_RESIDENT_BYTES = 512 * 2**20
"""A split up to this size is copied to the device once; a larger one is read batch by batch."""

Fetch = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""From rows (B,) int64 on the CPU to x (B, *input_shape) float32 and y (B,) int64 on the device."""


def read_ahead(samples: Samples) -> Samples:
    """Return the same samples, read one batch ahead of who :func:`expects <expect>` them, unless they are few."""
    if samples.x.nbytes <= MAX_RESIDENT_BYTES:
        return samples
    return samples._replace(x=cast("NDArray[np.float32]", ReadAhead(samples.x)))


def expect(samples: Samples, batches: Iterable[torch.Tensor]) -> None:
    """Say which rows will be fetched next, batch by batch, so that each is read while the last is computed with."""
    if isinstance(samples.x, ReadAhead):
        samples.x.expect(batches)


def make_fetch(samples: Samples, *, device: str, channels_last: bool) -> Fetch:
    """Return the function that reads rows of a split onto the device."""
    y = torch.from_numpy(np.array(samples.y)).to(device)
    memory_format = torch.channels_last if channels_last and samples.x.ndim == 4 else torch.contiguous_format
    if samples.x.nbytes <= MAX_RESIDENT_BYTES:
        x = torch.from_numpy(np.array(samples.x)).to(device)
        return lambda rows: (
            x[rows.to(device)].contiguous(memory_format=memory_format),
            y[rows.to(device)],
        )

    def read(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch = torch.from_numpy(samples.x[rows.numpy()]).to(device)
        return batch.contiguous(memory_format=memory_format), y[rows.to(device)]

    return read


def shuffled_rows(num_samples: int, *, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield every row once, in a random order, in batches of at least two where there are two."""
    yield from in_batches(torch.randperm(num_samples, generator=generator), batch_size)


def in_batches(order: torch.Tensor, batch_size: int) -> list[torch.Tensor]:
    """Cut an order of rows, (N,) int64, into batches of at least two where there are two."""
    return [order[start:end] for start, end in _bounds(len(order), batch_size)]


def ordered_rows(num_samples: int, *, batch_size: int) -> Iterator[torch.Tensor]:
    """Yield every row once, in order."""
    for start in range(0, num_samples, batch_size):
        yield torch.arange(start, min(start + batch_size, num_samples))


def count_batches(num_samples: int, batch_size: int) -> int:
    """Return how many batches :func:`shuffled_rows` yields."""
    return len(_bounds(num_samples, batch_size))


def _bounds(num_samples: int, batch_size: int) -> list[tuple[int, int]]:
    starts = list(range(0, num_samples, batch_size))
    # Batch normalisation has no variance of one sample: a last batch of one joins the batch before it.
    if len(starts) > 1 and num_samples - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], num_samples], strict=True))
