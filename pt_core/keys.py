"""Keys: the private one that signs what is published here, and the folder of public ones that are trusted."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pt_core.errors import ConfigError
from pt_core.files import write_bytes_atomically
from pt_core.record import Record

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

HOME_VARIABLE = "PT_PIPELINE_HOME"
DEFAULT_HOME = ".pt-pipeline"
SIGNING_KEY_VARIABLE = "PT_PIPELINE_SIGNING_KEY"
TRUSTED_KEYS_VARIABLE = "PT_PIPELINE_TRUSTED_KEYS"
PASSPHRASE_VARIABLE = "PT_PIPELINE_SIGNING_PASSPHRASE"  # noqa: S105 - the variable's name, not its value

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_MAX_KEY_BYTES = 64 * 2**10
_PUBLIC_MODE, _PRIVATE_MODE, _FOLDER_MODE = 0o644, 0o600, 0o700


class Keys(Record):
    """Where keys are; nothing of a private key is ever in a record."""

    signing: str
    """Path of the private key that signs, PEM."""
    trusted: str
    """Folder of the public keys that are trusted, one PEM file ``*.pub`` each."""
    is_own: bool = True
    """Whether the private key is this home's own, made at first use, and not one that the team brings."""


class Trust(Record):
    """Whose bundles may be loaded where loading runs code that is in them."""

    trusted_keys: str
    """Folder of the public keys that are trusted."""
    unsigned: tuple[str, ...] = ()
    """Names or digests of bundles that may be loaded though no trusted key signed them: the user named them, or
    something that was verified vouches for them."""

    def accepting(self, digest: str) -> Trust:
        """Return the same, with a bundle that something which was verified vouches for."""
        return self.model_copy(update={"unsigned": (*self.unsigned, digest)})


def keys_of(home: Path) -> Keys:
    """Return where the keys of a home are; the environment's own come first."""
    signing = os.environ.get(SIGNING_KEY_VARIABLE)
    trusted = os.environ.get(TRUSTED_KEYS_VARIABLE)
    return Keys(
        signing=str(Path(signing).resolve() if signing else home / "keys" / "signing.pem"),
        trusted=str(Path(trusted).resolve() if trusted else home / "keys" / "trusted"),
        is_own=not signing,
    )


def keys_here() -> Keys:
    """Return where the keys of this process's home are: of PT_PIPELINE_HOME, or of .pt-pipeline here."""
    return keys_of(Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).resolve())


def trust_here(unsigned: tuple[str, ...] = ()) -> Trust:
    """Return whom this process's home trusts, and the bundles that the user named."""
    return Trust(trusted_keys=keys_here().trusted, unsigned=unsigned)


def ensure_signing_key(keys: Keys) -> str:
    """Make the home's own key if there is none, trust its public half, and return its fingerprint.

    Raises:
        ConfigError: the team's key is missing or unusable, or its passphrase is missing or wrong.
    """
    path = Path(keys.signing)
    if keys.is_own:
        with _locked(path.parent):
            if not path.exists():
                _write_new_key(path)
    public = load_private_key(path).public_key()
    name = fingerprint(public)
    # Whoever set TRUSTED_KEYS decides alone what is in that folder.
    if not os.environ.get(TRUSTED_KEYS_VARIABLE):
        _write_public(Path(keys.trusted), public)
    return name


def passphrase_of(path: Path) -> bytes | None:
    """Return the passphrase of a private key, from the environment; ``None`` for a key that has none."""
    found = os.environ.get(PASSPHRASE_VARIABLE)
    return found.encode() if found and b"ENCRYPTED" in _read(path, "the signing key") else None


def load_private_key(path: Path) -> EllipticCurvePrivateKey:
    """Return the private key in a PEM file.

    Raises:
        ConfigError: it cannot be read, is no key of a curve that can sign, or its passphrase is missing or wrong.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content, secret = _read(path, "the signing key"), passphrase_of(path)
    try:
        key = load_pem_private_key(content, secret)
    except TypeError as error:
        raise ConfigError(
            f"{path}: the signing key is protected by a passphrase; set {PASSPHRASE_VARIABLE}"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        wrong = f", or {PASSPHRASE_VARIABLE} does not open it" if secret else ""
        raise ConfigError(
            f"{path}: no private key in PEM{wrong}; expected one of {', '.join(_CURVES)}"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise ConfigError(
            f"{path}: expected an elliptic curve key of {', '.join(_CURVES)}; found another kind"
        )
    return key


def load_public_key(path: Path) -> EllipticCurvePublicKey:
    """Return the public key in a PEM file.

    Raises:
        ConfigError: it cannot be read, is a private key, or is no public key of a curve that can sign.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _read(path, "the public key")
    if b"PRIVATE KEY" in content:
        raise ConfigError(
            f"{path}: this is a private key, which belongs to nobody else; give its public half"
        )
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: no public key in PEM; expected one of {', '.join(_CURVES)}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise ConfigError(
            f"{path}: expected an elliptic curve key of {', '.join(_CURVES)}; found another kind"
        )
    return key


def fingerprint(key: EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of a public key's PEM, by which a signature names its key."""
    return hashlib.sha256(_pem(key)).hexdigest()


def trusted_keys(folder: Path) -> dict[str, Path]:
    """Return the files of trusted public keys by fingerprint.

    Raises:
        ConfigError: a file in the folder is no public key.
    """
    return {fingerprint(load_public_key(path)): path for path in sorted(folder.glob("*.pub"))}


def trust_key(source: Path, folder: Path) -> Path:
    """Add a public key to those that are trusted; return its file.

    Raises:
        ConfigError: it is no public key.
    """
    return _write_public(folder, load_public_key(source))


def _write_public(folder: Path, key: EllipticCurvePublicKey) -> Path:
    path = folder / f"{fingerprint(key)[:16]}.pub"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_bytes_atomically(path, _pem(key), mode=_PUBLIC_MODE)
    return path


def _write_new_key(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    secret = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    write_bytes_atomically(path, secret, mode=_PRIVATE_MODE)


def _pem(key: EllipticCurvePublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: {what} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time make the key, so that two first uses leave one key."""
    folder.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
    lock = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
