"""Write data.npz: noisy waves of three shapes, with random phase and frequency."""

from __future__ import annotations

from pathlib import Path

import numpy as np

NUM_SAMPLES = 600
LENGTH = 64


def main() -> None:
    """Draw the samples; equal seeds give equal files."""
    generator = np.random.default_rng(0)
    y = np.arange(NUM_SAMPLES) % 3
    cycles = generator.uniform(1.5, 4, size=(NUM_SAMPLES, 1))
    phase = generator.uniform(0, 1, size=(NUM_SAMPLES, 1))
    angle = 2 * np.pi * (cycles * np.linspace(0, 1, LENGTH) + phase)
    sine = np.sin(angle)
    shapes = np.stack([sine, np.sign(sine), np.arcsin(sine) * 2 / np.pi])
    x = shapes[y, np.arange(NUM_SAMPLES)] + generator.normal(0, 0.05, size=(NUM_SAMPLES, LENGTH))
    np.savez(Path(__file__).parent / "data.npz", x=x.astype(np.float32), y=y.astype(np.int64))


if __name__ == "__main__":
    main()
