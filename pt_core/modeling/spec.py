"""ModelSpec: a network as data (import path, arguments, input and normalisation)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from pt_core.record import Record

Initialization = Literal["keep", "xavier", "kaiming", "normal", "orthogonal"]


class ModelConfig(Record):
    """Which network to train."""

    target: str = Field(default="pt_core.modeling.cnn:cnn", pattern=r"^[\w.]+:\w+$")
    """Import path "module:function" of a function or class that returns an ``nn.Module``."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of that function; ``input_shape`` and ``num_classes`` are added if it takes them."""
    initialization: Initialization = "keep"
    """How weights are drawn before training, by layer type; "keep" leaves what the network's code drew or loaded."""
    normalize: bool = True
    """Whether the first layer subtracts the training split's mean and divides by its deviation."""
    gradient_checkpointing: bool = False
    """Whether to trade compute for memory by recomputing activations of the network's blocks."""


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
