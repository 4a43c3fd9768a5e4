"""Bring one bundle from MLflow's artifact store into a folder here: nothing of it has its final name before it is verified."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from pt_core.bundle import MANIFEST, MAX_MANIFEST_BYTES, Bundle, BundleKind, is_intact, open_bundle, staging
from pt_core.errors import IntegrityError
from pt_core.manifest import SIGNATURE, Manifest, read_manifest
from pt_core.signing import MAX_SIGNATURE_BYTES
from tasks.dashboard import without_secrets
from tasks.registry import place
from tasks.stored import fetch_files, list_files

Vouch = Callable[[Path], object]
"""Raises an IntegrityError unless somebody who is trusted answers for a bundle."""

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}")


def folder_name(directory: str, digest: str) -> str:
    """Return the name of a bundle's folder in every home: its own where that ends in the digest, else one that does."""
    name = directory.rpartition("/")[2]
    is_plain = _FOLDER.fullmatch(name) and name.endswith(f"-{digest[:12]}")
    return name if is_plain else f"bundle-{digest[:12]}"


def fetch_bundle(
    tracking_uri: str,
    source: str,
    *,
    store: Path,
    name: str,
    kind: BundleKind,
    digest: str,
    vouch: Vouch | None = None,
) -> Bundle:
    """Return a bundle below a folder; a copy that is there, intact and vouched for is used again.

    Args:
        tracking_uri: MLflow's address.
        source: the folder where MLflow keeps it.
        store: where it goes.
        name: its folder there.
        kind: what it must be.
        digest: what its digest must be, from something that was verified.
        vouch: raises unless a trusted key signed what must be signed; asked once every byte is verified.

    Raises:
        IntegrityError: MLflow holds other bytes or another bundle, or nobody trusted signed it.
        StepFailed: it cannot be fetched.
    """
    destination = store / name
    if is_intact(destination, digest) and _is_vouched(destination, vouch):
        return open_bundle(destination, kind=kind)[0]
    with staging(store) as scratch:
        fetched = scratch / name
        fetched.mkdir()
        found = _fetch_verified(tracking_uri, source, fetched, kind=kind, digest=digest)
        if vouch is not None:
            vouch(fetched)
        _flush(fetched)
        if is_intact(destination, digest):
            # The same bytes were here under no signature, or one that nobody here trusts, or came at the same time.
            with contextlib.suppress(FileNotFoundError):  # not signed
                (fetched / SIGNATURE).replace(destination / SIGNATURE)
        else:
            place(fetched, destination, digest, scratch=scratch)
    return found.model_copy(update={"directory": str(destination.resolve())})


def fetch_manifest(tracking_uri: str, source: str, folder: Path) -> tuple[Manifest, str]:
    """Fetch the manifest of a bundle alone into a folder; return it and its digest.

    Raises:
        IntegrityError: what MLflow holds is no manifest.
        StepFailed: it cannot be fetched.
    """
    fetch_files(tracking_uri, source, {MANIFEST: MAX_MANIFEST_BYTES}, folder)
    return read_manifest(folder)


def fetch_listed(tracking_uri: str, source: str, manifest: Manifest, folder: Path) -> Bundle:
    """Fetch what a manifest lists, and the signature if there is one, beside that manifest; return what is verified.

    Names come from the manifest, whose record takes none that leaves the folder: what else MLflow lists is left there.

    Raises:
        IntegrityError: a file is missing, or not as the manifest says.
        StepFailed: it cannot be fetched.
    """
    is_signed = SIGNATURE in list_files(tracking_uri, source)
    signature = {SIGNATURE: MAX_SIGNATURE_BYTES} if is_signed else {}
    limits = {entry.path: entry.size_bytes for entry in manifest.files}
    fetch_files(tracking_uri, source, limits | signature, folder)
    try:
        return open_bundle(folder)[0]
    except IntegrityError as error:
        raise IntegrityError(
            f"{without_secrets(source)}: MLflow holds other bytes than the manifest says; they are not used",
            details=error.details,
        ) from error


def _fetch_verified(tracking_uri: str, source: str, folder: Path, *, kind: BundleKind, digest: str) -> Bundle:
    manifest, found = fetch_manifest(tracking_uri, source, folder)
    if found != digest or manifest.kind != kind:
        raise IntegrityError(
            f"{without_secrets(source)}: the {manifest.kind} {found[:12]}, expected the {kind} {digest[:12]}; "
            "another bundle took its place"
        )
    return fetch_listed(tracking_uri, source, manifest, folder)


def _is_vouched(directory: Path, vouch: Vouch | None) -> bool:
    try:
        if vouch is not None:
            vouch(directory)
    except IntegrityError:
        return False
    return True


def _flush(folder: Path) -> None:
    """Have the disk keep every file before its folder gets its name."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
