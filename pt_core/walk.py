"""The files below a folder, as who reads them comes to them: through links too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk(
    folder: Path, *, enters: Callable[[os.DirEntry[str]], bool], above: tuple[Path, ...] = ()
) -> Iterator[os.DirEntry[str]]:
    """Yield the files in a folder and below, in no order.

    Args:
        folder: where to look; what may not be looked at is left out.
        enters: whether to go into a folder, or a link to one.
        above: the folders that led here: a link back to one of them has nothing new behind it.
    """
    here = folder.resolve()
    if here in above:
        return
    try:
        # No call for each file: data may lie beside code.
        entries = list(os.scandir(folder))
    except PermissionError:
        return
    for entry in entries:
        # A link that leads nowhere is neither, where the entry itself would raise.
        found = Path(entry.path) if entry.is_symlink() else entry
        if found.is_dir():
            if enters(entry):
                yield from walk(Path(entry.path), enters=enters, above=(*above, here))
        elif found.is_file():
            yield entry
