"""Manifest: what the files of a bundle must be, and what in a directory differs from it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, JsonValue, ValidationError, field_validator

from pt_core.errors import IntegrityError
from pt_core.record import Record

MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
"""A signature over all other files, the manifest included; so it is in no manifest and part of no digest."""
SCHEMA_VERSION = 1
MAX_MANIFEST_BYTES = 16 * 2**20
"""A manifest is read whole before anything is trusted, so its size is bounded."""

MAX_FILES = 100_000
"""Bound on the files of one bundle."""

BundleKind = Literal["dataset", "checkpoint", "artifact", "attacks", "evaluation", "release", "run"]


class FileEntry(Record):
    """One file of a bundle."""

    path: str = Field(min_length=1, max_length=4096)
    """Path inside the bundle, with forward slashes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of its bytes, 64 hex digits."""
    size_bytes: int = Field(ge=0)
    """Its length."""

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        pure = PurePosixPath(path)
        odd = any(character in path for character in "\0\\\n\r")
        if pure.is_absolute() or ".." in pure.parts or pure.as_posix() != path or odd:
            raise ValueError(f"{path!r} is no plain path inside the bundle")
        return path


class Manifest(Record):
    """What a bundle holds; written last, so that a bundle with a manifest is complete."""

    schema_version: int
    """Version of this layout."""
    kind: BundleKind
    """What the bundle is."""
    files: tuple[FileEntry, ...] = Field(max_length=MAX_FILES)
    """Every file but the manifest itself, sorted by path."""
    info: dict[str, JsonValue]
    """The record that describes the content."""
    checksum: str
    """SHA-256 of this manifest's canonical JSON with an empty checksum: shows damage to the manifest itself.

    It is no protection against someone who writes a new one; comparing :attr:`Bundle.digest` with the digest
    on record is.
    """

    def computed_checksum(self) -> str:
        """Return what the checksum must be."""
        return self.model_copy(update={"checksum": ""}).content_digest()


def describe_file(folder: Path, path: Path) -> FileEntry:
    """Return the entry of one file of a folder."""
    return FileEntry(
        path=path.relative_to(folder).as_posix(),
        sha256=hash_file(path),
        size_bytes=path.stat().st_size,
    )


def read_manifest(directory: Path) -> tuple[Manifest, str]:
    """Return a directory's manifest and the SHA-256 of its bytes; no other file is looked at.

    Raises:
        IntegrityError: there is none, or it is damaged, too large, or of another version.
    """
    path = directory / MANIFEST
    if not directory.is_dir() or not path.is_file() or path.is_symlink():
        raise IntegrityError(f"{directory}: not a bundle, it has no {MANIFEST}")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise IntegrityError(f"{path}: larger than {MAX_MANIFEST_BYTES} bytes")
    content = path.read_bytes()
    try:
        manifest = Manifest.from_json(content)
    except ValidationError as error:
        raise IntegrityError(f"{path}: not a valid manifest: {first_problem(error)}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise IntegrityError(
            f"{path}: schema version {manifest.schema_version}, this program reads {SCHEMA_VERSION}"
        )
    # Comparing the bytes too leaves no two spellings of one manifest, hence of one digest.
    if manifest.checksum != manifest.computed_checksum() or content != manifest.to_json().encode():
        raise IntegrityError(f"{path}: damaged, its own checksum does not match; restore it from a copy")
    return manifest, hashlib.sha256(content).hexdigest()


def compare(directory: Path, manifest: Manifest) -> list[str]:
    """Return one line for each file of a directory that differs from its manifest; its signature is not looked at."""
    expected = {entry.path: entry for entry in manifest.files}
    if {MANIFEST, SIGNATURE} & expected.keys() or len(expected) != len(manifest.files):
        return [f"{MANIFEST}: lists itself, or a file twice"]
    found: set[str] = set()
    problems = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            problems.append(f"{name}: not a plain file")
        elif path.is_file() and name not in (MANIFEST, SIGNATURE):
            found.add(name)
            if name not in expected:
                problems.append(f"{name}: not in the manifest")
    for name, entry in expected.items():
        problem = _compare_file(directory / name, entry) if name in found else "missing"
        if problem:
            problems.append(f"{name}: {problem}")
    return problems


def _compare_file(path: Path, entry: FileEntry) -> str | None:
    size = path.stat().st_size
    if size != entry.size_bytes:
        return f"{size} bytes, expected {entry.size_bytes}"
    try:
        digest = hash_file(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if digest != entry.sha256:
        return f"SHA-256 {digest[:12]}..., expected {entry.sha256[:12]}..."
    return None


def is_digest(text: str) -> bool:
    """Return whether a text is a SHA-256 as a manifest writes it, so that a file can be named by it."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def first_problem(error: ValidationError) -> str:
    """Return where a record was wrong first, and how."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
