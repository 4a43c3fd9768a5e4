"""Read perturbed test samples back, their bytes checked; needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pt_core.bundle import open_bundle
from pt_core.evaluation.requests import AttackPoint, Attacks


def open_attacks(directory: Path) -> Attacks:
    """Check every byte of the perturbed samples, then read their description.

    Raises:
        IntegrityError: the bytes are not what the manifest says, or they are no attacks.
    """
    bundle, manifest = open_bundle(directory, kind="attacks")
    return Attacks.model_validate({**manifest.info, **bundle.model_dump()})


def load_point(attacks: Attacks, point: AttackPoint) -> NDArray[np.float32]:
    """Return the (N, *input_shape) float32 samples of one perturbation, memory-mapped."""
    samples: NDArray[np.float32] = np.load(
        Path(attacks.directory) / point.file, mmap_mode="r", allow_pickle=False
    )
    return samples
