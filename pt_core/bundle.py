"""A bundle: an immutable directory whose manifest holds the SHA-256 of every file in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pt_core.errors import IntegrityError
from pt_core.folder_lock import is_still, remove_unheld
from pt_core.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    SCHEMA_VERSION,
    SIGNATURE,
    BundleKind,
    FileEntry,
    Manifest,
    compare,
    describe_file,
    first_problem,
    hash_file,
    read_manifest,
)
from pt_core.record import Record

__all__ = [
    "MANIFEST",
    "MAX_MANIFEST_BYTES",
    "Bundle",
    "BundleKind",
    "FileEntry",
    "Manifest",
    "check_digest",
    "hash_file",
    "is_intact",
    "open_bundle",
    "read_info",
    "seal",
    "set_aside",
    "staging",
    "sweep",
]

_STAGING_PREFIX = ".staging-"


class Bundle(Record):
    """A sealed directory."""

    directory: str
    """Absolute path of the directory."""
    digest: str
    """SHA-256 of its manifest, which binds every other byte."""
    size_bytes: int
    """Bytes of all its files, the manifest left out."""


@contextlib.contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """Yield a fresh directory inside ``parent`` to write a bundle into; it is removed if it is still there."""
    parent.mkdir(parents=True, exist_ok=True)
    folder, lock = _fresh(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def seal(
    folder: Path,
    *,
    name: str,
    kind: BundleKind,
    info: Record,
    sign: Callable[[Path], object] | None = None,
) -> Bundle:
    """Make a staging directory durable under its final name, ``<name>-<first 12 digits of its digest>``.

    Every file is flushed to disk, the manifest is written last, and one rename publishes the whole:
    at any moment the final name either does not exist or is complete. A bundle that is already there
    with the same bytes is kept, under the new signature; one whose bytes were damaged is set aside first.

    Args:
        folder: the staging directory.
        name: start of the final name.
        kind: what the bundle is.
        info: the record that describes the content.
        sign: writes a signature of the directory, manifest included, into it; without one it is not signed.

    Raises:
        IntegrityError: the folder holds a link, a special file, or a file of the manifest's or signature's own name.
        OSError: the disk refused a write; nothing exists under the final name.
    """
    manifest, text = _build_manifest(folder, kind, info)
    digest = hashlib.sha256(text.encode()).hexdigest()
    for entry in manifest.files:
        _fsync(folder / entry.path)
    (folder / MANIFEST).write_text(text)
    _fsync(folder / MANIFEST)
    if sign is not None:
        sign(folder)
        _fsync(folder / SIGNATURE)
    for directory in [path for path in folder.rglob("*") if path.is_dir()]:
        _fsync(directory)
    _fsync(folder)
    destination = folder.parent / f"{name}-{digest[:12]}"
    _publish(folder, destination, digest)
    return Bundle(
        directory=str(destination.resolve()),
        digest=digest,
        size_bytes=sum(entry.size_bytes for entry in manifest.files),
    )


def open_bundle(directory: Path, *, kind: BundleKind | None = None) -> tuple[Bundle, Manifest]:
    """Check every byte of a bundle against its manifest before anything in it is parsed.

    Raises:
        IntegrityError: a file is missing, added, a link, or differs in size or SHA-256; the details
            name each.
    """
    manifest, digest = read_manifest(directory)
    if kind is not None and manifest.kind != kind:
        raise IntegrityError(f"{directory}: expected the kind {kind}, found {manifest.kind}")
    problems = compare(directory, manifest)
    if problems:
        raise IntegrityError(
            f"{directory}: {len(problems)} problem(s) against its manifest; restore it from a copy or build it again",
            details=problems,
        )
    size = sum(entry.size_bytes for entry in manifest.files)
    return Bundle(directory=str(directory.resolve()), digest=digest, size_bytes=size), manifest


def check_digest(bundle: Bundle) -> None:
    """Check that a bundle on disk is, byte for byte, the one that a record names.

    Raises:
        IntegrityError: it is damaged, or another bundle stands in its place.
    """
    found, _ = open_bundle(Path(bundle.directory))
    if found.digest != bundle.digest:
        raise IntegrityError(
            f"{bundle.directory}: digest {found.digest[:12]}, expected {bundle.digest[:12]}; another bundle took its place"
        )


B = TypeVar("B", bound=Bundle)


def read_info(bundle: Bundle, manifest: Manifest, record: type[B]) -> B:
    """Return a bundle as the record that its manifest's description was made from.

    Raises:
        IntegrityError: the description does not fit that record; the message names the field.
    """
    try:
        return record.model_validate({**manifest.info, **bundle.model_dump()})
    except ValidationError as error:
        where = f"{bundle.directory}/{MANIFEST}"
        raise IntegrityError(f"{where}: describes no {record.__name__}: {first_problem(error)}") from error


def is_intact(directory: Path, digest: str) -> bool:
    """Return whether a bundle with this digest is there and every byte of it matches."""
    try:
        bundle, _ = open_bundle(directory)
    except (IntegrityError, OSError):
        return False
    return bundle.digest == digest


def set_aside(directory: Path) -> Path:
    """Rename a damaged bundle so that a good one can take its name; nothing is deleted."""
    target = directory.with_name(f"{directory.name}.damaged-{uuid.uuid4().hex[:8]}")
    directory.rename(target)
    return target


def sweep(parent: Path) -> int:
    """Remove staging directories whose writer is gone; return how many."""
    left = [folder for folder in parent.glob(f"{_STAGING_PREFIX}*") if not _has_process(folder)]
    return sum(remove_unheld(folder) for folder in left)


def _build_manifest(folder: Path, kind: BundleKind, info: Record) -> tuple[Manifest, str]:
    content = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    reserved = (folder / MANIFEST, folder / SIGNATURE)
    odd = [path for path in content if path.is_symlink() or not path.is_file() or path in reserved]
    if odd:
        raise IntegrityError(
            f"{folder}: only plain files can be sealed, and {MANIFEST} and {SIGNATURE} are reserved names",
            details=[path.relative_to(folder).as_posix() for path in odd],
        )
    try:
        draft = Manifest(
            schema_version=SCHEMA_VERSION,
            kind=kind,
            files=tuple(describe_file(folder, path) for path in content),
            info=info.model_dump(mode="json"),
            checksum="",
        )
    except ValidationError as error:
        raise IntegrityError(f"{folder}: cannot be sealed: {first_problem(error)}") from error
    manifest = draft.model_copy(update={"checksum": draft.computed_checksum()})
    return manifest, manifest.to_json()


def _publish(folder: Path, destination: Path, digest: str) -> None:
    if destination.exists() and not is_intact(destination, digest):
        set_aside(destination)
    # Two writers of the same content may race: the loser's rename fails on the winner's equal bytes.
    try:
        folder.rename(destination)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        with contextlib.suppress(FileNotFoundError):  # not signed
            (folder / SIGNATURE).replace(destination / SIGNATURE)
    if not is_intact(destination, digest):
        raise IntegrityError(f"{destination}: could not be published from {folder}")
    _fsync(destination.parent)


def _has_process(folder: Path) -> bool:
    writer = folder.name.removeprefix(_STAGING_PREFIX).partition("-")[0]
    return writer.isdigit() and Path(f"/proc/{writer}").exists()


def _fresh(parent: Path) -> tuple[Path, int]:
    """Return a new staging directory with its lock, which goes with its process however that ends."""
    while True:
        folder = parent / f"{_STAGING_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        # Another container sees the lock but not the process, and may sweep the folder before it is locked.
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            if is_still(folder, lock):
                return folder, lock
            os.close(lock)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
