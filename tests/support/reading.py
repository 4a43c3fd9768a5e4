"""Read a whole split as training does, in a process whose memory is watched."""

from __future__ import annotations

import torch

from pt_core.data.dataset import Dataset, load_split
from pt_core.record import Record
from pt_core.training.batches import expect, make_fetch, read_ahead, shuffled_rows


class ReadRequest(Record):
    dataset: Dataset


class Read(Record):
    num_samples: int
    total: float


def read_all(request: ReadRequest) -> Read:
    samples = read_ahead(load_split(request.dataset, "train"))
    fetch = make_fetch(samples, device="cpu", channels_last=True)
    num_samples, total = 0, 0.0
    order = list(shuffled_rows(len(samples.y), batch_size=256, generator=torch.Generator().manual_seed(0)))
    expect(samples, order)
    for rows in order:
        x, y = fetch(rows)
        num_samples += len(y)
        total += float(x[:, 0, 0, 0].sum())
    return Read(num_samples=num_samples, total=total)
