"""Batch normalisation over all processes computes what torch's does over one batch."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch import nn

from pt_core.training.shared_norm import share_statistics


class Summing:
    """Adds up the tensors of threads that stand for processes; gradients flow back to each."""

    def __init__(self, num):
        self.given = [None] * num
        self.barrier = Barrier(num, timeout=60)

    def of(self, rank):
        def add_up(tensor):
            self.given[rank] = tensor
            self.barrier.wait()
            total = torch.stack(list(self.given)).sum(0)
            self.barrier.wait()
            return total

        return add_up


def layer(kind, **changes):
    norm = kind(3, **changes)
    if norm.affine:
        nn.init.uniform_(norm.weight, 0.5, 2, generator=torch.Generator().manual_seed(1))
        nn.init.uniform_(norm.bias, -1, 1, generator=torch.Generator().manual_seed(2))
    return nn.Sequential(norm)


CASES = [
    (nn.BatchNorm2d, (7, 3, 4, 5), {}),
    (nn.BatchNorm2d, (7, 3, 4, 5), {"momentum": None, "affine": False}),
    (nn.BatchNorm1d, (7, 3), {"track_running_stats": False}),
    (nn.BatchNorm3d, (3, 3, 2, 2, 2), {"momentum": 0.5}),
]


@pytest.mark.parametrize(("kind", "shape", "changes"), CASES)
def test_two_unequal_parts_are_normalised_as_one_batch_with_its_gradients(kind, shape, changes):
    whole = layer(kind, **changes)
    parts = [copy.deepcopy(whole) for _ in range(2)]
    # A mean far from nought, of which a variance by squares would lose half its digits.
    batch = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 2 + 300
    upstream = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    x = batch.clone().requires_grad_()
    shares = [share.clone().requires_grad_() for share in batch.tensor_split([2])]
    summing = Summing(2)
    for rank, part in enumerate(parts):
        share_statistics(part, summing.of(rank))
    for _ in range(2):
        expected = whole(x)
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda part, share: part(share), parts, shares))
    torch.testing.assert_close(torch.cat(found), expected, rtol=1e-4, atol=1e-4)
    (expected * upstream).sum().backward()
    # The graph of each spans both, as the collective's does; one pass through their sum is what both do together.
    total = sum((y * u).sum() for y, u in zip(found, upstream.tensor_split([2]), strict=True))
    total.backward()
    torch.testing.assert_close(torch.cat([share.grad for share in shares]), x.grad, rtol=1e-3, atol=1e-4)
    for part in parts:
        assert list(part.state_dict()) == list(whole.state_dict())
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(part.state_dict()[name], value, rtol=1e-4, atol=1e-4)


def test_evaluation_asks_nobody():
    norm = layer(nn.BatchNorm2d).eval()
    expected = norm(torch.ones(1, 3, 2, 2))

    def refuse(_):
        raise AssertionError

    share_statistics(norm, refuse)
    assert torch.equal(norm(torch.ones(1, 3, 2, 2)), expected)
