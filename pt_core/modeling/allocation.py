"""How the process of a training that saves memory allocates it, so that what is freed is given back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

# glibc's heap keeps freed pieces of many sizes in its own hands: a convolutional network whose activations are
# recomputed would peak as high as without. Above this size every tensor has a mapping of its own, which goes back to
# the kernel with it; in huge pages, since the faults of small ones would double the time of a step. Both are read
# by glibc when the process starts, and mean nothing elsewhere (benchmarks/results/gradient_checkpointing.md).
_GIVING_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "2097152",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def allocation_environment(gradient_checkpointing: bool | Sequence[str]) -> Mapping[str, str]:
    """Return what the environment of the training's process has besides; what the user has set stays.

    Args:
        gradient_checkpointing: as in the configuration of the model.
    """
    if not gradient_checkpointing:
        return {}
    return {name: value for name, value in _GIVING_BACK.items() if name not in os.environ}
