"""Source "factory": datasets that a function of the user's returns, read once into arrays on disk."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pt_core.data.checks import MAX_EXACT_INTEGER, join
from pt_core.data.config import DataConfig, FactoryConfig
from pt_core.data.rows import Growing
from pt_core.data.source import RawData
from pt_core.data.split_checks import named
from pt_core.errors import ConfigError, DataError
from pt_core.isolation import report_progress

_PIECE = 256
"""Samples that are in memory at once."""

_MAX_MISFITS = 20
"""Misfits after which reading stops: the rest are of the same kind."""

_EIGHT_BIT = ("L", "RGB")


class _Misfit(Exception):
    """What is wrong with one sample."""


def read_factory(config: DataConfig, *, scratch: Path) -> RawData:
    """Call the function and read every sample of what it returns.

    Raises:
        ConfigError: the function is not there or refuses its arguments.
        DataError: it raised, or did not return datasets of (input, class).
    """
    assert config.factory is not None
    datasets = _datasets(config.factory)
    reader = _Reader(scratch, config.factory)
    for split, dataset in datasets.items():
        reader.add(dataset, split)
    labels = config.labels or _names(next(iter(datasets.values())), config.factory)
    y, labels = reader.classes(labels)
    splits = [split for split, length in reader.lengths for _ in range(length)]
    return RawData(
        x=reader.rows.finish(),
        y=y,
        labels=labels,
        input_range=config.input_range or ((0.0, 1.0) if reader.are_pictures else None),
        split=named(np.array(splits, dtype=np.str_)) if len(datasets) > 1 or "" not in datasets else None,
        problems=tuple(reader.problems),
    )


def _datasets(factory: FactoryConfig) -> dict[str, Any]:
    function = _import(factory.target)
    try:
        made = function(**factory.arguments)
    # The user's code may raise anything; whatever it is, the data cannot be had.
    except Exception as error:
        raise DataError(
            f"data.factory: {factory.target} raised {type(error).__name__}: {error}"[:1000]
        ) from error
    found = {str(name): one for name, one in made.items()} if isinstance(made, Mapping) else {"": made}
    odd = [
        name for name, one in found.items() if not (hasattr(one, "__len__") and hasattr(one, "__getitem__"))
    ]
    if not found or odd:
        kind = (
            type(made).__name__ if not odd or odd == [""] else f"{type(found[odd[0]]).__name__} for {odd[0]}"
        )
        raise DataError(
            f"data.factory: {factory.target} returned {kind}, expected a dataset with a length and items (input, class), "
            "or one for each split by name; list(...) makes one of a stream"
        )
    return found


def _import(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    # A module of the user's may raise anything when it is imported.
    except Exception as error:
        raise ConfigError(
            f"data.factory.target: {target} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return function


class _Reader:
    """What is gathered from all datasets."""

    def __init__(self, scratch: Path, factory: FactoryConfig) -> None:
        self.rows = Growing(scratch / "x")
        self.problems: list[str] = []
        self.lengths: list[tuple[str, int]] = []
        self.are_pictures = False
        self._classes: list[Any] = []
        self._shape: tuple[int, ...] | None = None
        self._factory = factory

    def add(self, dataset: Any, split: str) -> None:
        """Read one dataset to its end."""
        total = len(dataset)
        before = len(self._classes)
        for start in range(0, total, _PIECE):
            inputs = list(self._items(dataset, range(start, min(start + _PIECE, total)), split))
            if inputs:
                self.rows.append(np.stack(inputs))
            report_progress(min(start + _PIECE, total), total, f"reading {split or 'samples'}")
        self.lengths.append((split, len(self._classes) - before))
        if not total:
            self.problems.append(
                f"the {split or 'only'} dataset is empty, expected at least one sample of each class"
            )

    def _items(self, dataset: Any, numbers: range, split: str) -> Iterator[NDArray[Any]]:
        for number in numbers:
            if len(self.problems) >= _MAX_MISFITS:
                return
            where = f"{self._factory.target}: sample {number}{f' of {split}' if split else ''}"
            try:
                found = self._input(dataset[number])
            except _Misfit as misfit:
                self.problems.append(f"{where} {misfit}")
            # The user's dataset and what it gives may raise anything; a torch dataset is read by its numbers alone.
            except Exception as error:  # noqa: BLE001 - becomes one of the problems
                self.problems.append(f"{where} raised {type(error).__name__}: {str(error)[:200]}")
            else:
                yield found

    def _input(self, item: Any) -> NDArray[Any]:
        pair = self._pair(item)
        x, are_pictures = _array(pair[0])
        if x.dtype.kind not in "fiub":
            raise _Misfit(f"has an input of dtype {x.dtype}, expected numbers")
        if self._shape is not None and x.shape != self._shape:
            raise _Misfit(
                f"has shape {x.shape}, expected {self._shape} as the first; resize it in the dataset"
            )
        if x.dtype.kind in "iu" and x.size and max(-int(x.min()), int(x.max())) > MAX_EXACT_INTEGER:
            raise _Misfit(
                f"has integers from {x.min()} to {x.max()}, which float32 cannot hold exactly; scale them"
            )
        self._classes.append(_plain(pair[1]))
        self._shape = x.shape
        self.are_pictures |= are_pictures
        return x.astype(np.float32, copy=False)

    def _pair(self, item: Any) -> tuple[Any, Any]:
        if isinstance(item, Mapping):
            keys = (self._factory.input_key, self._factory.target_key)
            if all(key in item for key in keys):
                return item[keys[0]], item[keys[1]]
        elif isinstance(item, tuple | list) and len(item) == 2:
            return item[0], item[1]
        raise _Misfit(f"is {type(item).__name__}, expected (input, class)")

    def classes(self, labels: tuple[str, ...] | None) -> tuple[NDArray[Any], tuple[str, ...] | None]:
        """Return the class numbers; classes given by name are numbered by ``labels``, or sorted."""
        if not any(isinstance(one, str) for one in self._classes):
            return np.array(self._classes), labels
        names = labels or tuple(sorted({str(one) for one in self._classes}))
        unknown = sorted({str(one) for one in self._classes} - set(names))
        if unknown:
            self.problems.append(f"class {join(unknown)} is not in data.labels, expected {join(names)}")
        numbers = {name: number for number, name in enumerate(names)}
        return np.array([numbers.get(str(one), 0) for one in self._classes]), names


def _array(x: Any) -> tuple[NDArray[Any], bool]:
    """Return an input as an array, and whether it was a picture, whose pixels are between 0 and 1 then."""
    if not hasattr(x, "getbands"):
        try:
            return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x), False
        except (TypeError, ValueError) as error:
            raise _Misfit(f"has an input that becomes no array: {str(error)[:200]}") from error
    if x.mode not in _EIGHT_BIT:
        raise _Misfit(
            f"is a Pillow image of mode {x.mode}, expected {' or '.join(_EIGHT_BIT)}; "
            'give image.convert("RGB") in the dataset, or an array'
        )
    pixels = np.asarray(x, dtype=np.float32) / 255
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)), True


def _plain(target: Any) -> Any:
    if hasattr(target, "item"):
        shape = tuple(target.shape)
        if math.prod(shape) != 1:
            raise _Misfit(
                f"has a class of shape {shape}, expected one number or name; "
                "where classes are one-hot, give the place of the one: argmax()"
            )
        target = target.item()
    if not isinstance(target, str | int | float):
        raise _Misfit(f"has a class that is {type(target).__name__}, expected one number or name")
    return target


def _names(dataset: Any, factory: FactoryConfig) -> tuple[str, ...] | None:
    """Return the names of the classes where the dataset knows them, as torchvision's and Hugging Face's do."""
    classes = getattr(dataset, "classes", None)
    if classes is None:
        feature = (getattr(dataset, "features", None) or {}).get(factory.target_key)
        classes = getattr(feature, "names", None)
    return tuple(str(name) for name in classes) if classes is not None else None
