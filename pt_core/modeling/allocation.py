"""How the process of a training allocates memory: kept for the next step, or given back where memory is to be saved."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

# Every step frees what the next one asks for again. Left to itself glibc gives much of it back to the kernel in
# between, and its pages come anew, each by a fault: a ResNet-18's steps in FP32 take 5 to 8 % longer so. The first is the
# greatest that every version of glibc takes.
_KEEPING = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**30),
}

# What it keeps are freed pieces of many sizes: a convolutional network whose activations are recomputed would peak as
# high as without. Above this size every tensor has a mapping of its own, which goes back to the kernel with it; in huge
# pages, since the faults of small ones would double the time of a step (benchmarks/results/gradient_checkpointing.md).
_GIVING_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "2097152",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def allocation_environment(gradient_checkpointing: bool | Sequence[str]) -> Mapping[str, str]:
    """Return what the environment of the training's process has besides; what the user has set stays.

    glibc reads it when the process starts; it means nothing elsewhere.

    Args:
        gradient_checkpointing: as in the configuration of the model.
    """
    wanted = _GIVING_BACK if gradient_checkpointing else _KEEPING
    return {name: value for name, value in wanted.items() if name not in os.environ}
