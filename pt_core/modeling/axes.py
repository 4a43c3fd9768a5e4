"""The sizes that declared dynamic axes are tried at, samples resized to them, and axes that cannot vary."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pt_core.errors import ConfigError
from pt_core.modeling.spec import DynamicAxis, ModelSpec


def check_axes(spec: ModelSpec) -> None:
    """Refuse axes that a network of this input cannot vary, whatever its code does.

    Raises:
        ConfigError: an axis is not one of a sample, is declared twice, does not take the training data's size, or
            is normalised by channel.
    """
    seen: set[int] = set()
    for index, axis in enumerate(spec.dynamic_axes):
        where = f"model.dynamic_axes[{index}]"
        if axis.axis >= len(spec.input_shape):
            last = len(spec.input_shape) - 1
            raise ConfigError(
                f"{where}: axis {axis.axis} of samples {spec.input_shape}, expected 0 to {last}"
            )
        if axis.axis in seen:
            raise ConfigError(f"{where}: axis {axis.axis} is declared twice; remove one")
        size = spec.input_shape[axis.axis]
        if not axis.min <= size <= axis.max:
            raise ConfigError(
                f"{where}: axis {axis.axis} takes {axis.min} to {axis.max}, and the training data has {size}; "
                "widen the range to include it"
            )
        if axis.axis == 0 and spec.mean is not None:
            raise ConfigError(
                f"{where}: axis 0 is normalised, with a mean and a deviation for each of its {size} entries, so it "
                "cannot vary; set model.normalize=false, or leave the axis out"
            )
        seen.add(axis.axis)


def axis_shapes(usual: tuple[int, ...], axes: tuple[DynamicAxis, ...]) -> tuple[tuple[int, ...], ...]:
    """Return sample shapes: each axis at its least, an odd size between and its greatest; then all axes so at once."""
    shapes = [_with_sizes(usual, {axis.axis: size}) for axis in axes for size in _sizes(axis)]
    if len(axes) > 1:
        together = zip(*(_sizes(axis) for axis in axes), strict=True)
        shapes += [
            _with_sizes(usual, {axis.axis: size for axis, size in zip(axes, sizes, strict=True)})
            for sizes in together
        ]
    return tuple(shape for shape in dict.fromkeys(shapes) if shape != usual)


def resize(samples: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return (N, *shape) samples, cropped where an axis is shorter and tiled where it is longer."""
    for axis, size in enumerate(shape, start=1):
        samples = np.take(samples, np.arange(size), axis=axis, mode="wrap")
    return np.ascontiguousarray(samples)


def _sizes(axis: DynamicAxis) -> tuple[int, int, int]:
    # Odd, so that a graph that only holds for even sizes is found; of two sizes the upper stands for it.
    middle = (axis.min + axis.max) // 2 | 1
    return axis.min, min(middle, axis.max), axis.max


def _with_sizes(usual: tuple[int, ...], sizes: dict[int, int]) -> tuple[int, ...]:
    return tuple(sizes.get(axis, size) for axis, size in enumerate(usual))
