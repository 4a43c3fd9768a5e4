"""Seed every global source of randomness: the one place that touches globals."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch on every device, and make cuDNN choose deterministic kernels.

    On the CPU with a fixed number of threads, equal seeds then give equal bits. On a GPU a few backward
    kernels (adaptive pooling for one) still add in any order, so runs differ in the last digits.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a user's network may draw from the global generator
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
