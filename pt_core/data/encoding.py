"""How raw table rows and image files become the numbers that every artifact takes; it travels inside each bundle."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from pt_core.record import Record

MISSING = ""
"""The category of a missing cell; no cell of a table can hold it otherwise."""

ColumnKind = Literal["numeric", "categorical"]
Encoder = Literal["one-hot", "ordinal"]
Unseen = Literal["ignore", "refuse"]


class ColumnEncoding(Record):
    """How one column of a table becomes numbers, as it was learnt on the training split."""

    name: str
    """Its name in the header."""
    kind: ColumnKind
    """What its cells are."""
    fill: float | None = None
    """What stands for a missing number; ``None`` refuses one."""
    indicator: bool = False
    """Whether a second number says if the cell was missing."""
    categories: tuple[str, ...] = ()
    """The categories of the training split, sorted; the empty text is a missing cell."""
    encoder: Encoder = "one-hot"
    """One number for each category, or the category's place as one number."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the numbers that it becomes."""
        if self.kind == "numeric":
            return (self.name, f"{self.name}=missing") if self.indicator else (self.name,)
        if self.encoder == "ordinal":
            return (self.name,)
        return tuple(f"{self.name}={category or 'missing'}" for category in self.categories)


class TableEncoding(Record):
    """How the rows of a table become numbers."""

    columns: tuple[ColumnEncoding, ...] = Field(min_length=1)
    """Its columns, in the order of the numbers."""
    unseen: Unseen = "ignore"
    """A category that the training split lacks: all zeros (-1 where ordinal), or refused."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the numbers of one row, in order."""
        return tuple(name for column in self.columns for name in column.outputs)

    def place(self, name: str) -> tuple[int, ColumnEncoding] | None:
        """Return where the numbers of a column begin, and its encoding; ``None`` if there is no such column."""
        start = 0
        for column in self.columns:
            if column.name == name:
                return start, column
            start += len(column.outputs)
        return None


class ImageDecoding(Record):
    """How an image file of any size becomes (C, height, width) float32 in [0, 1]."""

    size: tuple[PositiveInt, PositiveInt] = (224, 224)
    """Height and width in pixels."""
    mode: Literal["RGB", "L"] = "RGB"
    """Colour (three channels) or grey (one)."""
    resize: Literal["crop", "stretch", "pad"] = "crop"
    """Crop the middle after scaling the shorter side, stretch both sides, or scale the longer one and pad by black."""
    convert: bool = False
    """Whether images of other channels (transparency, CMYK, grey for colour) are converted and not refused."""
    max_pixels: int = Field(default=50_000_000, ge=1)
    """An image of more pixels is refused before it is decoded."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one decoded image."""
        return (3 if self.mode == "RGB" else 1, *self.size)
