"""DataConfig: which samples to use and how to split them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from pt_core.data.augmentation import Augmentation
from pt_core.data.encoding import Encoder, ImageDecoding, Unseen
from pt_core.record import Record

SourceName = Literal["digits", "arrays", "image_folder", "table", "factory"]
SplitName = Literal["train", "validation", "calibration", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "calibration", "test")


class GivenSplits(Record):
    """Splits that the user made: one file (image_folder: one folder of class folders) for each."""

    train: str
    """What is learnt from; a split that is not given is drawn from it."""
    validation: str | None = None
    """What is watched while training."""
    calibration: str | None = None
    """What quantization is calibrated on."""
    test: str | None = None
    """What every artifact is evaluated on."""

    def paths(self) -> dict[SplitName, str]:
        """Return the path of each split that is given."""
        given = {name: getattr(self, name) for name in SPLITS}
        return {name: path for name, path in given.items() if path is not None}


class TableConfig(Record):
    """The columns of source "table" and how they become numbers."""

    target: str
    """Column with the class."""
    numeric: tuple[str, ...] | None = None
    """Columns of numbers; null takes those whose first cells are mostly numbers."""
    categorical: tuple[str, ...] | None = None
    """Columns of categories; null takes all that are left."""
    ignore: tuple[str, ...] = ()
    """Columns that are not learnt from."""
    id: str | None = None
    """Column that says which rows belong together: rows of one id are never in two splits."""
    split: str | None = None
    """Column that names each row's split: train, validation (or val), calibration or test."""
    missing: Literal["refuse", "mean", "median", "constant"] = "refuse"
    """What stands for a missing number; where not refused, a missing category is a category of its own."""
    missing_value: float = 0.0
    """The number of missing: constant."""
    missing_indicator: bool = False
    """Whether each numeric column gets a second one that says if the cell was missing."""
    encoder: Encoder = "one-hot"
    """A category becomes one number for each category, or its place in their sorted order."""
    unseen: Unseen = "ignore"
    """A category that the training split lacks: all zeros (-1 where ordinal), or refused."""
    max_categories: int = Field(default=100, ge=1)
    """A column of more categories is refused: it is an identity."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = [self.target, *(self.numeric or ()), *(self.categorical or ()), *self.ignore]
        named += [name for name in (self.id, self.split) if name is not None]
        repeated = sorted({name for name in named if named.count(name) > 1})
        if repeated:
            raise ValueError(f"column {', '.join(repeated)} is given two uses; leave one out")
        if self.missing == "refuse" and self.missing_indicator:
            raise ValueError("missing_indicator tells of cells that missing: refuse refuses; set missing")
        if self.missing != "constant" and self.missing_value != 0.0:
            raise ValueError("missing_value is the number of missing: constant; set that, or leave it out")
        return self


class ImagesConfig(ImageDecoding):
    """How source "image_folder" decodes its files and how much it bears."""

    max_bad_fraction: float = Field(default=0.01, ge=0, lt=1)
    """Share of files that may be unreadable; they are left out, counted and listed. More are refused."""
    max_cached_gib: float = Field(default=8.0, ge=0)
    """Decoded training images up to this size are kept decoded; more are decoded by processes during training."""

    def decoding(self) -> ImageDecoding:
        """Return what decides the pixels."""
        return ImageDecoding.model_validate(self.model_dump(include=set(ImageDecoding.model_fields)))


class FactoryConfig(Record):
    """A function of the user's that returns datasets."""

    target: str = Field(pattern=r"^[\w.]+:\w+$")
    """Import path "module:function"; it returns one dataset, or one for each split by name.

    A dataset has a length and gives (input, class) for each number, as torch's, torchvision's and Hugging Face's do.
    """
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Its keyword arguments."""
    input_key: str = "image"
    """Where a dataset gives mappings: the key of the input."""
    target_key: str = "label"
    """Where a dataset gives mappings: the key of the class."""
    depends_on: tuple[str, ...] = ()
    """Files and folders it reads, relative to the configuration file: a change in them is another data set."""


_OWN = {"table": "table", "images": "image_folder", "factory": "factory"}
"""The setting that only one source reads."""

_ON_DISK = ("arrays", "image_folder", "table")


class DataConfig(Record):
    """Where samples come from and how they are split."""

    source: SourceName = "digits"
    """"digits" (scikit-learn's 1,797 handwritten digits), "arrays" (an .npz file with x and y), "image_folder" (one
    folder for each class), "table" (CSV or Parquet) or "factory" (a function that returns datasets)."""
    path: str | None = None
    """File or folder of the samples, relative to the configuration file."""
    splits: GivenSplits | None = None
    """One file or folder for each split instead of path."""
    table: TableConfig | None = None
    """Columns of source "table"."""
    images: ImagesConfig | None = None
    """Size and channels of source "image_folder"."""
    factory: FactoryConfig | None = None
    """The function of source "factory"."""
    labels: tuple[str, ...] | None = None
    """Name of each class in the order of the label numbers; a table's or folder's own names, sorted, if left out."""
    input_range: tuple[float, float] | None = None
    """Least and greatest legal input value of source "arrays" or "factory"; leave out for a table."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=0.5)
    """Share held out to watch training and to stop early."""
    calibration_fraction: float = Field(default=0.1, gt=0, lt=0.5)
    """Share held out to calibrate quantization."""
    test_fraction: float = Field(default=0.2, gt=0, lt=0.8)
    """Share held out for the evaluation of every artifact."""
    augmentation: tuple[Augmentation, ...] = ()
    """Random changes of the training samples, in this order."""

    @model_validator(mode="after")
    def _source_has_its_settings(self) -> Self:
        given = (self.path is not None) + (self.splits is not None)
        if self.source in _ON_DISK and given != 1:
            raise ValueError(f'source "{self.source}" needs a path, or one for each of splits')
        if self.source not in _ON_DISK and given:
            raise ValueError(f'source "{self.source}" takes no path and no splits; leave them out')
        for name, source in _OWN.items():
            if getattr(self, name) is not None and self.source != source:
                raise ValueError(f'{name} is read by source "{source}" only; leave it out, or set source')
        if self.source in ("table", "factory") and getattr(self, self.source) is None:
            raise ValueError(
                f'source "{self.source}" needs {self.source}.target; set data.{self.source}: {{target: ...}}'
            )
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.input_range is not None and self.source not in ("arrays", "factory"):
            has = "a table has none" if self.source == "table" else f'source "{self.source}" has (0, 1)'
            raise ValueError(f"{has}: leave input_range out")
        held_out = self.validation_fraction + self.calibration_fraction + self.test_fraction
        if held_out > 0.9:
            raise ValueError(
                f"the held-out fractions sum to {held_out:g}, expected at most 0.9; lower one of them"
            )
        if self.input_range is not None and self.input_range[0] >= self.input_range[1]:
            raise ValueError("input_range must be (least, greatest)")
        if self.splits is not None and self.table is not None and self.table.split is not None:
            raise ValueError("splits and table.split both part the samples; leave one out")
        return self

    def paths(self) -> dict[SplitName | None, str]:
        """Return every path of the samples by the split it is given for; ``None`` is the whole."""
        if self.splits is None:
            return {} if self.path is None else {None: self.path}
        found: dict[SplitName | None, str] = {}
        for name, path in self.splits.paths().items():
            found[name] = path
        return found
