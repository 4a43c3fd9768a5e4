"""Functions that return datasets, as users and libraries make them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

NUM = 40


def values(num: int = NUM, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, 3)).astype(np.float32)


def pairs(num: int = NUM, *, names: bool = False, seed: int = 0) -> list[tuple[np.ndarray, Any]]:
    x = values(num, seed)
    return [(row, ("no", "yes")[number % 2] if names else number % 2) for number, row in enumerate(x)]


def tensors() -> TensorDataset:
    return TensorDataset(torch.from_numpy(values()), torch.arange(NUM) % 2)


def splits() -> dict[str, list[tuple[np.ndarray, Any]]]:
    return {"train": pairs(), "val": pairs(6, seed=1), "test": pairs(10, seed=2)}


def twisted_splits() -> dict[str, list[tuple[np.ndarray, Any]]]:
    return {"train": pairs(), "test": [], "exam": pairs(4)}


def great_integers() -> list[tuple[np.ndarray, Any]]:
    return [(np.array([number, 2**24 + (number == 2), 0]), number % 2) for number in range(NUM)]


class Pictures(Dataset[tuple[Image.Image, int]]):
    """As torchvision's: Pillow images, whole numbers, and the names of the classes."""

    classes = ("cat", "dog")

    def __len__(self) -> int:
        return NUM

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(np.full((4, 5, 3), index * 6, np.uint8)), index % 2


class _Feature:
    names = ("cat", "dog")


class Rows:
    """As Hugging Face's: mappings, and features that know the names of the classes."""

    features = {"pixels": object(), "animal": _Feature()}  # noqa: RUF012 - as they write it

    def __len__(self) -> int:
        return NUM

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixels": values()[index].tolist(), "animal": index % 2, "other": "x"}


def misfits() -> list[Any]:
    good = pairs()
    good[3] = (np.zeros(4, np.float32), 0)
    good[5] = "no pair"
    good[7] = (np.array(["text"]), 1)
    return good


def odd_samples() -> list[Any]:
    good = pairs()
    good[1] = (good[1][0], torch.tensor([0, 1]))
    good[2] = (good[2][0], np.array([1, 0]))
    good[3] = ([[1.0], [1.0, 2.0]], 1)
    good[4] = (Image.new("RGBA", (4, 8)), 0)
    good[5] = (Image.new("CMYK", (4, 8)), 0)
    good[6] = (good[6][0], None)
    return good


class Failing:
    def __len__(self) -> int:
        return NUM

    def __getitem__(self, index: int) -> Any:
        raise RuntimeError(f"the disk is on fire at {index}")


def stream() -> Iterator[Any]:
    return iter(pairs())


def raises(message: str) -> None:
    raise KeyError(message)


def nothing() -> None:
    return None
