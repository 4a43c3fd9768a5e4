"""Which samples have their class among the k greatest logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOP_K = 5
"""The k of ``accuracy/top_k_accuracy``."""


def hits(logits: NDArray[np.float32], targets: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Return (N,) whether fewer than ``k`` classes come before the own one, of equals those of lower number."""
    own = logits[np.arange(len(targets)), targets][:, None]
    is_lower = np.arange(logits.shape[1]) < targets[:, None]
    num_before = ((logits > own) | ((logits == own) & is_lower)).sum(axis=1)
    found: NDArray[np.bool_] = num_before < k
    return found
