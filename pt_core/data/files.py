"""One digest for the files and folders that samples come from, so that a changed byte is another request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pt_core.bundle import hash_file
from pt_core.data.config import DataConfig
from pt_core.errors import ConfigError
from pt_core.walk import walk


def check_paths(config: DataConfig, base_dir: Path) -> None:
    """Refuse a configuration whose files and folders are not there.

    Raises:
        ConfigError: names each that is missing, or is a file where a folder is expected, or the other way round.
    """
    wants_folder = config.source == "image_folder"
    problems = []
    for name, path in _paths(config, base_dir):
        if not path.exists():
            problems.append(f"{name}: no {'folder' if wants_folder else 'file'} {path}")
        elif name != "data.factory.depends_on" and path.is_dir() != wants_folder:
            found, expected = ("folder", "file") if path.is_dir() else ("file", "folder of class folders")
            problems.append(f"{name}: {path} is a {found}, expected a {expected}")
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        raise ConfigError(f"data: {len(problems)} paths are not what the source reads", details=problems)


def existing(names: Iterable[str], base_dir: Path, *, where: str) -> list[Path]:
    """Return files and folders that a setting names.

    Raises:
        ConfigError: names each that is not there.
    """
    paths = [base_dir / name for name in names]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise ConfigError(f"{where}: no file or folder {', '.join(missing)}")
    return paths


def source_digest(config: DataConfig, base_dir: Path) -> str | None:
    """Return the SHA-256 of everything on disk that the samples come from; ``None`` where nothing is.

    Raises:
        ConfigError: a file or folder is not there.
    """
    check_paths(config, base_dir)
    paths = [path for _, path in _paths(config, base_dir)]
    if not paths:
        return None
    if len(paths) == 1 and paths[0].is_file():
        return hash_file(paths[0])
    return digest_of(paths)


def digest_of(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of files and folders, by the names inside them.

    Raises:
        ConfigError: a folder has no file in it, whose digest would be that of anything it holds later.
    """
    digest = hashlib.sha256()
    for path in paths:
        for line in _lines(path):
            digest.update(line.encode())
    return digest.hexdigest()


def _paths(config: DataConfig, base_dir: Path) -> list[tuple[str, Path]]:
    """Return the files and folders that samples are read from, each with the setting that names it."""
    named = [
        (f"data.splits.{split}" if split else "data.path", path) for split, path in config.paths().items()
    ]
    named += [
        ("data.factory.depends_on", path) for path in (config.factory.depends_on if config.factory else ())
    ]
    return [(name, base_dir / path) for name, path in named]


def files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and below, hidden ones left out, in an order that no file system decides.

    Links are followed, as whoever reads the samples follows them.
    """
    files = walk(folder, enters=lambda entry: not entry.name.startswith("."))
    return sorted(Path(file.path) for file in files if not file.name.startswith("."))


def hash_files(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the SHA-256 of each file, several read at a time."""
    with ThreadPoolExecutor() as pool:
        yield from pool.map(hash_file, paths)


def _lines(path: Path) -> Iterator[str]:
    if path.is_file():
        yield f"{path.name}\0{hash_file(path)}\n"
        return
    files = files_below(path)
    if not files:
        raise ConfigError(
            f"{path}: has no file in it, expected those that the samples or the network come from"
        )
    for file, sha256 in zip(files, hash_files(files), strict=True):
        yield f"{file.relative_to(path).as_posix()}\0{sha256}\n"
