"""pt-pipeline init: a starter project with its own data, for one of the sources."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from flows.cli.output import print_json, results
from pt_core.errors import ConfigError

Template = Literal["arrays", "table", "images"]

_STARTER = Path(__file__).parent.parent / "starter"


class _Project(NamedTuple):
    """What one starter project is made of."""

    files: dict[str, str]
    """Name in the starter folder by name in the project."""
    data: str
    """Name of its data."""
    write: Callable[[Path], None]
    """Writes them."""


def init(folder: Path, *, template: Template = "arrays", as_json: bool) -> None:
    """Write the project; nothing that exists is touched.

    Raises:
        ConfigError: the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: exists and is not empty, expected a new folder; choose another name")
    project = _PROJECTS[template]
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in project.files.items():
        shutil.copyfile(_STARTER / source, folder / name)
    project.write(folder / project.data)
    files = [str(folder / name) for name in (*project.files, project.data)]
    if as_json:
        print_json({"folder": str(folder.resolve()), "files": files})
        return
    results.print(
        f"Made {', '.join(files)}\n\nNext:\n  pt-pipeline run {folder / 'pipeline.yaml'}", highlight=False
    )


def _write_arrays(path: Path) -> None:
    import numpy as np
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    np.savez(path, x=table.data.astype(np.float32), y=table.target.astype(np.int64))


def _write_table(path: Path) -> None:
    import csv

    from sklearn.datasets import load_wine

    wines = load_wine()
    names = [name.replace("/", "_") for name in wines.feature_names]
    shade = names.index("color_intensity")
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*names, "shade", "cultivar"])
        for number, (row, target) in enumerate(zip(wines.data.tolist(), wines.target, strict=True)):
            cells = [*row, "pale" if row[shade] < 4 else "deep", wines.target_names[target]]
            # A few cells are missing, as in any table.
            writer.writerow(
                ["" if (number + place) % 97 == 0 else cell for place, cell in enumerate(cells[:-2])]
                + cells[-2:]
            )


def _write_images(folder: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    for number, (pixels, target) in enumerate(zip(bunch.images[:900], bunch.target[:900], strict=True)):
        path = folder / str(target) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / 16).astype("uint8")).resize((24, 24)).save(path)


_PROJECTS: dict[Template, _Project] = {
    "arrays": _Project({"pipeline.yaml": "pipeline.yaml", "model.py": "model.py"}, "data.npz", _write_arrays),
    "table": _Project({"pipeline.yaml": "table.yaml", "model.py": "model.py"}, "data.csv", _write_table),
    "images": _Project({"pipeline.yaml": "images.yaml"}, "images", _write_images),
}
