"""pt-pipeline init: a starter project with its own network and data file."""

from __future__ import annotations

import shutil
from pathlib import Path

from flows.cli.output import print_json, results
from pt_core.errors import ConfigError

_TEMPLATE = Path(__file__).parent.parent / "starter"
_FILES = ("pipeline.yaml", "model.py")


def init(folder: Path, *, as_json: bool) -> None:
    """Write the project; nothing that exists is touched.

    Raises:
        ConfigError: the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: exists and is not empty, expected a new folder; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        shutil.copyfile(_TEMPLATE / name, folder / name)
    _write_data(folder / "data.npz")
    files = [str(folder / name) for name in (*_FILES, "data.npz")]
    if as_json:
        print_json({"folder": str(folder.resolve()), "files": files})
        return
    results.print(
        f"Made {', '.join(files)}\n\nNext:\n  pt-pipeline run {folder / 'pipeline.yaml'}", highlight=False
    )


def _write_data(path: Path) -> None:
    import numpy as np
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    np.savez(path, x=table.data.astype(np.float32), y=table.target.astype(np.int64))
