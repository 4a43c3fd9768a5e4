"""Write data/<class>/<number>.png: circles, crosses and squares of random place, size and colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

NUM_PER_CLASS = 150
CLASSES = ("circle", "cross", "square")


def main() -> None:
    """Draw the pictures; equal seeds give equal files."""
    generator = np.random.default_rng(0)
    for label in CLASSES:
        folder = Path(__file__).parent / "data" / label
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(NUM_PER_CLASS):
            draw(label, generator).save(folder / f"{number:03}.png")


def draw(label: str, generator: np.random.Generator) -> Image.Image:
    """Return one picture of 32 to 48 pixels a side: a light shape on a dark ground."""
    side = int(generator.integers(32, 49))
    ground, colour = (
        tuple(int(v) for v in generator.integers(*span, size=3)) for span in ((0, 80), (160, 256))
    )
    picture = Image.new("RGB", (side, side), ground)
    radius = side // 4 + int(generator.integers(0, 4))
    x, y = (int(side / 2 + generator.integers(-3, 4)) for _ in range(2))
    box = (x - radius, y - radius, x + radius, y + radius)
    pen = ImageDraw.Draw(picture)
    if label == "circle":
        pen.ellipse(box, fill=colour)
    elif label == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.line((x - radius, y, x + radius, y), fill=colour, width=5)
        pen.line((x, y - radius, x, y + radius), fill=colour, width=5)
    return picture


if __name__ == "__main__":
    main()
