"""Write penguins.csv: made-up penguins of three species, one cell in fifty missing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

NUM_ROWS = 800
MEANS = {"adelie": (38.8, 190.0, 3700.0), "chinstrap": (48.8, 196.0, 3730.0), "gentoo": (47.5, 217.0, 5080.0)}
"""Beak and flipper in millimetres and mass in grams of each species."""
ISLANDS = {"adelie": ("Torgersen", "Biscoe", "Dream"), "chinstrap": ("Dream",), "gentoo": ("Biscoe",)}


def main() -> None:
    """Draw the rows; equal seeds give equal files."""
    generator = np.random.default_rng(0)
    with (Path(__file__).parent / "penguins.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["ring", "beak_mm", "flipper_mm", "mass_g", "island", "sex", "species"])
        for number in range(NUM_ROWS):
            rows.writerow([f"R{number:04}", *row(list(MEANS)[number % 3], generator)])


def row(species: str, generator: np.random.Generator) -> list[str]:
    """Return one penguin: its numbers, its island, its sex and its species."""
    is_male = bool(generator.integers(2))
    scale = (1.02 if is_male else 0.98) * generator.normal(1, (0.04, 0.025, 0.08))
    numbers = [f"{mean * factor:.1f}" for mean, factor in zip(MEANS[species], scale, strict=True)]
    island = ISLANDS[species][int(generator.integers(len(ISLANDS[species])))]
    cells = [*numbers, island, "male" if is_male else "female"]
    return [*("" if generator.random() < 0.02 else cell for cell in cells), species]


if __name__ == "__main__":
    main()
