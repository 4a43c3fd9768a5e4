"""DataConfig: which samples to use and how to split them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pt_core.record import Record

SourceName = Literal["digits", "arrays"]
SplitName = Literal["train", "validation", "calibration", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "calibration", "test")


class DataConfig(Record):
    """Where samples come from and how they are split."""

    source: SourceName = "digits"
    """"digits" (scikit-learn's 1,797 handwritten digits) or "arrays" (an .npz file with x and y)."""
    path: str | None = None
    """The .npz file of source "arrays", relative to the configuration file."""
    labels: tuple[str, ...] | None = None
    """Name of each class in the order of the label numbers; numbers are used if left out."""
    input_range: tuple[float, float] | None = None
    """Least and greatest legal input value of source "arrays"; leave out for a table."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=0.5)
    """Share held out to watch training and to stop early."""
    calibration_fraction: float = Field(default=0.1, gt=0, lt=0.5)
    """Share held out to calibrate quantization."""
    test_fraction: float = Field(default=0.2, gt=0, lt=0.8)
    """Share held out for the evaluation of every artifact."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.source == "arrays") != (self.path is not None):
            raise ValueError('source "arrays" needs a path, and source "digits" takes none')
        if self.source == "digits" and self.input_range is not None:
            raise ValueError('source "digits" has the input_range (0, 1); leave input_range out')
        held_out = self.validation_fraction + self.calibration_fraction + self.test_fraction
        if held_out > 0.9:
            raise ValueError(
                f"the held-out fractions sum to {held_out:g}, expected at most 0.9; lower one of them"
            )
        if self.input_range is not None and self.input_range[0] >= self.input_range[1]:
            raise ValueError("input_range must be (least, greatest)")
        return self
