"""ModelSpec: a network as data (import path, arguments, input and normalisation)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from pt_core.data.encoding import ImageDecoding, TableEncoding
from pt_core.record import Record

Initialization = Literal["keep", "xavier", "kaiming", "normal", "orthogonal"]


class DynamicAxis(Record):
    """An axis of one sample whose size may differ from that of the training data."""

    axis: int = Field(ge=0)
    """Which axis of one sample, from 0: in images (C, H, W) the height is 1 and the width 2."""
    min: int = Field(ge=1)
    """Least size that it takes."""
    max: int = Field(ge=1)
    """Greatest size that it takes."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.min < self.max:
            raise ValueError(f"axis {self.axis}: sizes {self.min} to {self.max}, expected min below max")
        return self

    @property
    def name(self) -> str:
        """How exported programs and graphs call its size."""
        return f"size_{self.axis}"


class WarmStart(Record):
    """Where the weights come from that training starts with."""

    checkpoint: str = Field(min_length=1)
    """Folder of a checkpoint, absolute or relative to the configuration file."""
    min_loaded_fraction: float | None = Field(default=None, gt=0, le=1)
    """Least share of the network's weight elements that must fit, 0 to 1, where not all need to."""
    strict: bool = True
    """Whether every tensor must fit by name, shape and type; false where ``min_loaded_fraction`` is given."""

    @model_validator(mode="before")
    @classmethod
    def _share_makes_it_partial(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        return {"strict": given.get("min_loaded_fraction") is None, **given}

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if self.strict and self.min_loaded_fraction is not None:
            raise ValueError("strict: true leaves no share to choose; remove it, or min_loaded_fraction")
        if not self.strict and self.min_loaded_fraction is None:
            raise ValueError(
                "strict: false needs the share of the weights that must fit all the same; "
                "set min_loaded_fraction, for example 0.9"
            )
        return self


class ModelConfig(Record):
    """Which network to train."""

    target: str = Field(default="pt_core.modeling.cnn:cnn", pattern=r"^[\w.]+:\w+$")
    """Import path "module:function" of a function or class that returns an ``nn.Module``."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of that function; ``input_shape`` and ``num_classes`` are added if it takes them."""
    depends_on: tuple[str, ...] = ()
    """Files and folders that its code reads, e.g. weights, relative to the configuration file: a change in them is
    another network. Python files beside its module are watched without being named."""
    initialization: Initialization = "keep"
    """How weights are drawn before training, by layer type; "keep" leaves what the network's code drew or loaded."""
    normalize: bool = True
    """Whether the first layer subtracts the training split's mean and divides by its deviation."""
    warm_start: WarmStart | None = None
    """The checkpoint to start from in place of drawn weights; null starts anew."""
    freeze: tuple[str, ...] = ()
    """Patterns (``backbone.*``) of the names of parameters that are not trained; batch normalisation that is frozen
    whole keeps its statistics too."""
    gradient_checkpointing: bool | tuple[str, ...] = False
    """Whether to trade compute for memory by recomputing activations: of the network's blocks, or of the modules whose
    names match these patterns (``blocks.*``)."""
    dynamic_axes: tuple[DynamicAxis, ...] = ()
    """Axes of one sample that may vary after training, e.g. height and width before adaptive pooling."""

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def _is_a_choice_or_patterns(cls, given: object) -> object:
        if not isinstance(given, bool | list | tuple):
            raise ValueError(  # noqa: TRY004 - a setting's mistake is a ValueError to pydantic
                f"expected true, false or a list of patterns such as [blocks.*], found {given!r}"
            )
        return given


class ModelSpec(Record):
    """A network that can be rebuilt anywhere its code is installed."""

    target: str
    """Import path "module:function"."""
    arguments: dict[str, JsonValue]
    """Keyword arguments of that function, complete."""
    input_shape: tuple[int, ...]
    """Shape of one sample, without the batch."""
    num_classes: int
    """Length of one row of logits."""
    mean: tuple[float, ...] | None
    """Per channel (or column) mean that the first layer subtracts, in input units."""
    std: tuple[float, ...] | None
    """Per channel (or column) deviation that the first layer divides by."""
    input_range: tuple[float, float] | None
    """Least and greatest legal input value, e.g. (0, 1) for pixels; ``None`` for a table."""
    dynamic_axes: tuple[DynamicAxis, ...] = ()
    """Axes of one sample that may have other sizes than in ``input_shape``."""
    table: TableEncoding | None = None
    """How raw rows of a table become its input, learnt on the training split."""
    images: ImageDecoding | None = None
    """How image files become its input."""

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Return whether one sample may have this shape."""
        if len(shape) != len(self.input_shape):
            return False
        ranges = {axis.axis: (axis.min, axis.max) for axis in self.dynamic_axes}
        expected = [ranges.get(axis, (size, size)) for axis, size in enumerate(self.input_shape)]
        return all(least <= size <= most for size, (least, most) in zip(shape, expected, strict=True))

    def describe_input(self) -> str:
        """Return the shape of one sample as people read it, e.g. ``3, 32 to 512, 224``."""
        ranges = {axis.axis: f"{axis.min} to {axis.max}" for axis in self.dynamic_axes}
        return ", ".join(ranges.get(axis, str(size)) for axis, size in enumerate(self.input_shape))
