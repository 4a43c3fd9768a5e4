"""Every row comes once, the order is the generator's, and reading in parts gives what reading at once gives."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pt_core.data.dataset import Samples, load_split
from pt_core.training import batches
from pt_core.training.batches import (
    count_batches,
    expect,
    make_fetch,
    ordered_rows,
    read_ahead,
    shuffled_rows,
)


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


class Slow:
    """Rows that note when they were asked for, and by which thread."""

    ndim, nbytes = 2, 2**40

    def __init__(self, x):
        self.x = x
        self.shape = x.shape
        self.asked = []

    def __len__(self):
        return len(self.x)

    def __getitem__(self, rows):
        self.asked.append((np.asarray(rows).tolist(), threading.current_thread() is threading.main_thread()))
        if 13 in np.asarray(rows):
            raise OSError("the disk went")
        return self.x[rows]


@pytest.fixture
def slow():
    return Slow(np.arange(40, dtype=np.float32).reshape(20, 2))


def streamed(slow):
    samples = read_ahead(Samples(slow, np.arange(20) % 3, np.arange(20)))
    return samples, make_fetch(samples, device="cpu", channels_last=False)


def wait_until(holds):
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_next_batch_is_read_while_the_last_one_is_computed_with(slow):
    samples, fetch = streamed(slow)
    batches = [torch.tensor([3, 1]), torch.tensor([7, 2]), torch.tensor([0, 5])]
    expect(samples, batches)
    x, y = fetch(batches[0])
    assert x.tolist() == slow.x[[3, 1]].tolist()
    assert y.tolist() == [0, 1]
    wait_until(lambda: len(slow.asked) == 2)
    assert slow.asked == [([3, 1], False), ([7, 2], False)]
    assert [fetch(rows)[0].tolist() for rows in batches[1:]] == [
        slow.x[[7, 2]].tolist(),
        slow.x[[0, 5]].tolist(),
    ]
    assert [rows for rows, _ in slow.asked] == [[3, 1], [7, 2], [0, 5]]


def test_what_was_not_expected_is_read_as_it_is_asked_for(slow):
    samples, fetch = streamed(slow)
    assert fetch(torch.tensor([4, 4]))[0].tolist() == slow.x[[4, 4]].tolist()
    expect(samples, [torch.tensor([3, 1]), torch.tensor([7, 2])])
    assert fetch(torch.tensor([9, 8]))[0].tolist() == slow.x[[9, 8]].tolist()
    assert samples.x[:2].tolist() == slow.x[:2].tolist()
    assert fetch(torch.tensor([3, 1]))[0].tolist() == slow.x[[3, 1]].tolist()


def test_a_new_epoch_forgets_what_the_last_one_expected(slow):
    samples, fetch = streamed(slow)
    expect(samples, [torch.tensor([3, 1]), torch.tensor([7, 2])])
    expect(samples, [torch.tensor([7, 2])])
    assert fetch(torch.tensor([7, 2]))[0].tolist() == slow.x[[7, 2]].tolist()
    assert fetch(torch.tensor([3, 1]))[0].tolist() == slow.x[[3, 1]].tolist()


def test_what_breaks_while_it_is_read_ahead_breaks_where_it_is_asked_for(slow):
    samples, fetch = streamed(slow)
    expect(samples, [torch.tensor([3, 1]), torch.tensor([13, 2])])
    fetch(torch.tensor([3, 1]))
    with pytest.raises(OSError, match="the disk went"):
        fetch(torch.tensor([13, 2]))


def test_few_samples_are_kept_and_not_read_ahead(digits):
    samples = load_split(digits, "train")
    assert read_ahead(samples) is samples
