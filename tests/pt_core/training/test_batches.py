"""Every row comes once, the order is the generator's, and reading in parts gives what reading at once gives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pt_core.data.dataset import load_split
from pt_core.training import batches
from pt_core.training.batches import count_batches, make_fetch, ordered_rows, shuffled_rows


@given(num_samples=st.integers(2, 200), batch_size=st.integers(2, 70), seed=st.integers(0, 99))
def test_every_row_comes_once_and_never_alone(num_samples, batch_size, seed):
    generator = torch.Generator().manual_seed(seed)
    found = list(shuffled_rows(num_samples, batch_size=batch_size, generator=generator))
    assert sorted(torch.cat(found).tolist()) == list(range(num_samples))
    assert min(len(rows) for rows in found) >= 2
    assert len(found) == count_batches(num_samples, batch_size)


@given(num_samples=st.integers(1, 200), batch_size=st.integers(2, 70))
def test_ordered_rows_are_in_order(num_samples, batch_size):
    found = list(ordered_rows(num_samples, batch_size=batch_size))
    assert torch.cat(found).tolist() == list(range(num_samples))
    assert max(len(rows) for rows in found) <= batch_size


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_split_read_batch_by_batch_equals_one_held_in_memory(digits, monkeypatch, channels_last):
    samples = load_split(digits, "train")
    rows = torch.tensor([5, 1000, 3])
    resident = make_fetch(samples, device="cpu", channels_last=channels_last)
    monkeypatch.setattr(batches, "MAX_RESIDENT_BYTES", 0)
    streamed = make_fetch(samples, device="cpu", channels_last=channels_last)
    for (x, y), expected_y in zip(
        [resident(rows), streamed(rows)], [samples.y[[5, 1000, 3]]] * 2, strict=True
    ):
        assert x.numpy().tolist() == samples.x[[5, 1000, 3]].tolist()
        assert y.tolist() == expected_y.tolist()
