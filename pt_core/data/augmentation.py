"""Augmentation: one named random change of training samples, and what its strength means."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from pt_core.errors import ConfigError
from pt_core.record import Record

if TYPE_CHECKING:
    from pt_core.data.dataset import DatasetInfo

AugmentationName = Literal[
    "horizontal-flip",
    "vertical-flip",
    "rotate",
    "shift",
    "zoom",
    "shear",
    "brightness",
    "contrast",
    "saturation",
    "blur",
    "erase",
    "noise",
]


class Meaning(NamedTuple):
    """What the strength of a transform is."""

    text: str
    """For a person."""
    default: float | None
    """If none is given; ``None`` where there is no strength."""
    greatest: float
    """The largest that means anything."""


MEANINGS: dict[str, Meaning] = {
    "horizontal-flip": Meaning("no strength", None, 0),
    "vertical-flip": Meaning("no strength", None, 0),
    "rotate": Meaning("degrees to either side", 10, 180),
    "shift": Meaning("share of the side, in any direction", 0.1, 1),
    "zoom": Meaning("share by which it grows or shrinks", 0.1, 0.9),
    "shear": Meaning("degrees to either side", 5, 60),
    "brightness": Meaning("share of the input range, up or down", 0.1, 1),
    "contrast": Meaning("share of the distance to the mean, more or less", 0.2, 1),
    "saturation": Meaning("share of the colour, more or less; colour images only", 0.2, 1),
    "blur": Meaning("greatest standard deviation in pixels", 1, 10),
    "erase": Meaning("greatest share of the area that is set to the mean", 0.1, 0.9),
    "noise": Meaning(
        "standard deviation, as a share of the input range (a table: of each column's)", 0.05, 1
    ),
}

TABLE_NAMES = ("noise",)
"""What makes sense of the columns of a table."""


class Augmentation(Record):
    """One random change of a training sample."""

    name: AugmentationName
    """Which change."""
    probability: float = Field(default=0.5, gt=0, le=1)
    """Share of the samples that it changes."""
    strength: float | None = Field(default=None, gt=0)
    """How far at most: degrees, pixels or a share, as the transform has it; its own default if left out."""

    @model_validator(mode="after")
    def _strength_fits(self) -> Self:
        meaning = MEANINGS[self.name]
        if self.strength is None:
            return self
        if meaning.default is None:
            raise ValueError(f"{self.name} has no strength; leave it out")
        if self.strength > meaning.greatest:
            raise ValueError(
                f"{self.name}: strength {self.strength:g}, expected at most {meaning.greatest:g} ({meaning.text})"
            )
        return self

    @property
    def amount(self) -> float:
        """The strength, or the transform's own default."""
        return self.strength if self.strength is not None else MEANINGS[self.name].default or 0.0


def check_augmentation(transforms: Sequence[Augmentation], dataset: DatasetInfo) -> None:
    """Refuse changes that mean nothing for these samples.

    Raises:
        ConfigError: names each, with what it needs.
    """
    problems = [f"{one.name}: {why}" for one in transforms if (why := _misfit(one, dataset))]
    if problems:
        raise ConfigError(
            f"data.augmentation: {len(problems)} of {len(transforms)} do not fit samples of shape {dataset.input_shape}",
            details=problems,
        )


def check_library(transforms: Sequence[Augmentation]) -> None:
    """Refuse changes whose library is not installed.

    Raises:
        ConfigError: says what to install.
    """
    if transforms and importlib.util.find_spec("kornia") is None:
        raise ConfigError(
            "data.augmentation: needs kornia, which is not installed; pip install 'pt-pipeline[augmentation]'"
        )


def _misfit(one: Augmentation, dataset: DatasetInfo) -> str | None:
    if len(dataset.input_shape) != 3:
        return None if one.name in TABLE_NAMES else f"needs images; of a table only {', '.join(TABLE_NAMES)}"
    if one.name in ("brightness", "contrast", "saturation") and dataset.input_range is None:
        return "needs to know black and white; set data.input_range"
    if one.name == "saturation" and dataset.input_shape[0] != 3:
        return f"needs 3 channels, these images have {dataset.input_shape[0]}"
    return None
