"""Sign a sealed directory, and say whose signature it bears: OpenSSF model-signing with keys on disk, no network."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from pt_core.errors import IntegrityError
from pt_core.keys import Keys, ensure_signing_key, passphrase_of, trusted_keys
from pt_core.manifest import SIGNATURE

if TYPE_CHECKING:
    from model_signing.hashing import Config as HashingConfig

MAX_SIGNATURE_BYTES = 64 * 2**20
"""A signature lists the digest of every file, and is read whole before anything is trusted."""


def sign(directory: Path, keys: Keys) -> str:
    """Write the signature of all other files of a directory into it; return the fingerprint of the key.

    Raises:
        ConfigError: the signing key is missing or unusable.
    """
    return _sign(directory, directory / SIGNATURE, keys)


def sign_published(directory: Path, keys: Keys) -> str:
    """Sign a bundle that others may be reading, its signature whole or not there; return the key's fingerprint.

    Raises:
        ConfigError: the signing key is missing or unusable.
    """
    # Beside it: a file more in the bundle would be damage to whoever looks now, or after a kill.
    part = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}.sig")
    try:
        name = _sign(directory, part, keys)
        part.replace(directory / SIGNATURE)
    finally:
        part.unlink(missing_ok=True)
    return name


def _sign(directory: Path, destination: Path, keys: Keys) -> str:
    # Here, and not above: the library takes a second to import.
    from model_signing import signing

    name = ensure_signing_key(keys)
    path = Path(keys.signing)
    signer = signing.Config()  # type: ignore[no-untyped-call]
    signer.set_hashing_config(_hashing()).use_elliptic_key_signer(
        private_key=path,
        # The annotation says text, the library underneath takes bytes.
        password=passphrase_of(path),  # type: ignore[arg-type]
    )
    signer.sign(directory, destination)
    return name


def check_signature(directory: Path, trusted: Path) -> str:
    """Return the fingerprint of the trusted key that signed all files of a directory as they are now.

    What is in the manifest is checked by :func:`pt_core.bundle.open_bundle`, which comes first.

    Args:
        directory: the bundle.
        trusted: folder of trusted public keys.

    Raises:
        IntegrityError: there is no signature, it is by another key, or it is over other files or other bytes.
        ConfigError: a file in the folder of trusted keys is no public key.
    """
    known = trusted_keys(trusted)
    name = signer_of(directory)
    if name is None:
        raise IntegrityError(f"{directory}: not signed, it has no {SIGNATURE}")
    if name not in known:
        raise IntegrityError(
            f"{directory}: signed by the key {name[:16]}, which is none of the {len(known)} trusted in {trusted}; "
            "if you know whose it is, trust it: pt-pipeline keys trust FILE.pub"
        )
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    verifier = verifying.Config()  # type: ignore[no-untyped-call]
    verifier.set_hashing_config(_hashing()).use_elliptic_key_verifier(public_key=known[name])
    try:
        verifier.verify(directory, directory / SIGNATURE)
    except InvalidSignature as error:
        raise IntegrityError(
            f"{directory}: {SIGNATURE} was not made by the key {name[:16]} it names"
        ) from error
    # What the library lets through of a malformed or a foreign signature, and of a directory that differs.
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"{directory}: {SIGNATURE} does not fit the files: {_short(error)}") from error
    return name


def signer_of(directory: Path) -> str | None:
    """Return the fingerprint that a directory's signature names its key by, unproved; ``None`` without a signature.

    Raises:
        IntegrityError: the signature is no plain file, too large, or names no key.
    """
    path = directory / SIGNATURE
    if not path.exists() and not path.is_symlink():
        return None
    if path.is_symlink() or not path.is_file():
        raise IntegrityError(f"{path}: not a plain file")
    if path.stat().st_size > MAX_SIGNATURE_BYTES:
        raise IntegrityError(f"{path}: larger than {MAX_SIGNATURE_BYTES} bytes")
    try:
        hint = json.loads(path.read_bytes())["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(
            f"{path}: damaged, it is no signature that names its key: {_short(error)}"
        ) from error
    if not isinstance(hint, str):
        raise IntegrityError(f"{path}: damaged, it is no signature that names its key")
    return hint


def _hashing() -> HashingConfig:
    """Return that every file is signed but the signature itself; by default Git's would be left out."""
    from model_signing import hashing

    everything = hashing.Config()  # type: ignore[no-untyped-call]
    return everything.set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
