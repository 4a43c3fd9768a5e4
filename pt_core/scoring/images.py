"""Source: a folder of images, read in the order of their paths by as many threads as there are cores."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pt_core.environment import num_cpus
from pt_core.errors import DataError
from pt_core.inference.preprocess import IMAGE_SUFFIXES, read_inputs
from pt_core.modeling.spec import ModelSpec
from pt_core.scoring.source import Block, file_stamp
from pt_core.scoring.values import make_block


class ImageSource:
    """Every file below a folder, hidden ones left out; what is no image is a row that cannot be scored."""

    def __init__(self, folder: Path, spec: ModelSpec) -> None:
        """List the folder.

        Raises:
            DataError: it holds no image, or the network takes none.
        """
        self._folder = folder
        self._spec = spec
        self._paths = _list(folder)
        if not any(path.lower().endswith(IMAGE_SUFFIXES) for path in self._paths):
            raise DataError(f"{folder}: holds no image, expected {', '.join(IMAGE_SUFFIXES)}")
        if len(spec.input_shape) != 3 or spec.input_shape[0] not in (1, 3):
            raise DataError(
                f"{folder}: images, but the network takes ({spec.describe_input()}); give it .npy, .csv or .parquet"
            )

    @property
    def about_num_rows(self) -> int:
        """How many files there are."""
        return len(self._paths)

    def fingerprint(self) -> str:
        """Return :meth:`stamp`: to read every image twice would double the time."""
        return self.stamp()

    def stamp(self) -> str:
        """Return a digest of every path, size and time."""
        digest = hashlib.sha256()
        for path in _list(self._folder):
            digest.update(f"{path}\0{file_stamp(self._folder / path)}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def blocks(self, *, start: int, size: int) -> Iterator[Block]:
        """Yield the images, resized to the network's input."""
        with ThreadPoolExecutor(num_cpus()) as threads:
            for first in range(start, len(self._paths), size):
                paths = self._paths[first : first + size]
                read = list(threads.map(self._read, paths))
                problems = {at: found for at, found in enumerate(read) if isinstance(found, str)}
                blank = np.zeros(self._spec.input_shape, dtype=np.float32)
                samples = np.stack([blank if isinstance(found, str) else found for found in read])
                # Whatever a file system calls a file must be text in the output.
                inputs = [path.encode(errors="surrogateescape").decode(errors="replace") for path in paths]
                yield make_block(samples, problems, inputs=inputs, rows=[0] * len(paths))

    def _read(self, path: str) -> NDArray[np.float32] | str:
        """Return one sample, or why there is none."""
        whole = self._folder / path
        if not path.lower().endswith(IMAGE_SUFFIXES):
            return f"not an image, expected {', '.join(IMAGE_SUFFIXES)}"
        try:
            sample: NDArray[np.float32] = read_inputs(whole, self._spec)[0]
            return sample
        except DataError as error:
            return error.message.removeprefix(f"{whole}: ")


def _list(folder: Path) -> list[str]:
    """Return the paths of all files below a folder, relative to it, sorted; folders and files with a dot are hidden."""
    found: list[str] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(place, folder)
        found += [os.path.normpath(f"{inside}/{name}") for name in names if not name.startswith(".")]
    return sorted(found)
