"""Read whichever source is configured."""

from __future__ import annotations

from pathlib import Path

from pt_core.data.requests import PrepareRequest
from pt_core.data.source import RawData


def read(request: PrepareRequest, scratch: Path) -> RawData:
    """Return the samples of the configured source, as they are.

    Args:
        request: which source.
        scratch: an empty folder for what does not fit into memory.

    Raises:
        DataError: the source cannot be read at all.
    """
    config = request.config
    paths = {split: Path(request.base_dir) / path for split, path in config.paths().items()}
    # Each source has libraries of its own; only those of the one that is read are loaded.
    if config.source == "arrays":
        from pt_core.data.sources.arrays import read_arrays

        return read_arrays(paths, scratch=scratch, input_range=config.input_range)
    if config.source == "image_folder":
        from pt_core.data.sources.image_folder import read_image_folder

        return read_image_folder(paths, config=config, scratch=scratch)
    if config.source == "table":
        from pt_core.data.sources.table import read_table

        return read_table(paths, config=config, scratch=scratch)
    if config.source == "factory":
        from pt_core.data.sources.factory import read_factory

        return read_factory(config, scratch=scratch)
    from pt_core.data.sources.digits import read_digits

    return read_digits()
