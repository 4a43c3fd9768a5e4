"""Keys and signatures: one key made once, nothing of it leaked, and no changed byte under a signature that stands."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from pt_core.errors import ConfigError, IntegrityError
from pt_core.keys import Keys, ensure_signing_key, keys_of, trust_key, trusted_keys
from pt_core.manifest import SIGNATURE
from pt_core.signing import check_signature, sign


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return keys_of(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def signed(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    (folder / "inner").mkdir()
    (folder / "model.bin").write_bytes(bytes(range(256)))
    (folder / "inner" / "labels.txt").write_text("a\nb\n")
    (folder / ".gitattributes").write_text("* text")
    sign(folder, keys)
    return folder


def private_pem(key: ec.EllipticCurvePrivateKey, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def team_key(path: Path, passphrase: bytes | None = None) -> Keys:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    path.write_bytes(private_pem(ec.generate_private_key(ec.SECP384R1()), encryption))
    return Keys(signing=str(path), trusted=str(path.parent / "trusted"), is_own=False)


def test_first_uses_at_once_leave_one_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    keys = keys_of(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: ensure_signing_key(keys), range(16)))
    assert len(names) == 1
    assert stat.S_IMODE(Path(keys.signing).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(keys.signing).parent.stat().st_mode) == 0o700
    assert set(trusted_keys(Path(keys.trusted))) == names
    assert sorted(path.name for path in Path(keys.signing).parent.iterdir()) == ["signing.pem", "trusted"]


def test_the_environment_names_the_teams_own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    team = team_key(tmp_path / "team.pem")
    monkeypatch.setenv("PT_PIPELINE_SIGNING_KEY", team.signing)
    monkeypatch.setenv("PT_PIPELINE_TRUSTED_KEYS", str(tmp_path / "only"))
    keys = keys_of(tmp_path / "home")
    assert (keys.signing, keys.trusted, keys.is_own) == (team.signing, str(tmp_path / "only"), False)
    ensure_signing_key(keys)
    assert not (tmp_path / "only").exists()
    monkeypatch.setenv("PT_PIPELINE_SIGNING_KEY", str(tmp_path / "gone.pem"))
    with pytest.raises(ConfigError, match=r"gone\.pem: the signing key cannot be read"):
        ensure_signing_key(keys_of(tmp_path / "home"))
    assert not (tmp_path / "gone.pem").exists()


def test_a_key_with_a_passphrase_signs_only_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = team_key(tmp_path / "team.pem", b"correct horse")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("a")
    with pytest.raises(ConfigError, match="protected by a passphrase; set PT_PIPELINE_SIGNING_PASSPHRASE"):
        sign(folder, keys)
    monkeypatch.setenv("PT_PIPELINE_SIGNING_PASSPHRASE", "wrong battery")
    with pytest.raises(ConfigError, match="PT_PIPELINE_SIGNING_PASSPHRASE does not open it") as refused:
        sign(folder, keys)
    assert "battery" not in str(refused.value)
    monkeypatch.setenv("PT_PIPELINE_SIGNING_PASSPHRASE", "correct horse")
    name = sign(folder, keys)
    assert check_signature(folder, Path(keys.trusted)) == name


def test_only_public_keys_of_curves_that_sign_are_trusted(tmp_path: Path) -> None:
    public = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    files = {
        "private": private_pem(ec.generate_private_key(ec.SECP256R1()), NoEncryption()),
        "no public key": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "another kind": rsa.generate_private_key(65537, 2048).public_key().public_bytes(*public),
        "elliptic curve": ec.generate_private_key(ec.SECP256K1()).public_key().public_bytes(*public),
    }
    for said, content in files.items():
        (tmp_path / "key.pub").write_bytes(content)
        with pytest.raises(ConfigError, match=said):
            trust_key(tmp_path / "key.pub", tmp_path / "trusted")
    assert not (tmp_path / "trusted").exists()


def test_the_signature_is_one_that_others_can_check(signed: Path, keys: Keys) -> None:
    envelope = json.loads((signed / SIGNATURE).read_text())["dsseEnvelope"]
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    # The pre-authentication encoding of the DSSE standard.
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    (path,) = Path(keys.trusted).glob("*.pub")
    key = load_pem_public_key(path.read_bytes())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), message, ec.ECDSA(hashes.SHA256()))
    listed = {one["name"]: one["digest"] for one in json.loads(payload)["predicate"]["resources"]}
    assert listed == {
        name: hashlib.sha256((signed / name).read_bytes()).hexdigest()
        for name in (".gitattributes", "inner/labels.txt", "model.bin")
    }


def flip(path: Path, bit: int = 3) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1 << bit
    path.write_bytes(content)


def other_key(folder: Path) -> None:
    sign(folder, keys_of(folder.parent / "other-home"))


def of_another(folder: Path) -> None:
    """Put the signature of another folder, by the same key, in the place of its own."""
    shutil.copyfile(folder.parent / "another" / SIGNATURE, folder / SIGNATURE)


def renamed_hint(folder: Path) -> None:
    """Let a signature by another key name the trusted one."""
    own = json.loads((folder / SIGNATURE).read_text())["verificationMaterial"]
    other_key(folder)
    document = json.loads((folder / SIGNATURE).read_text()) | {"verificationMaterial": own}
    (folder / SIGNATURE).write_text(json.dumps(document))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (lambda folder: flip(folder / "model.bin"), "Hash mismatch for 'model.bin'"),
    "a flipped bit further in": (lambda folder: flip(folder / "inner" / "labels.txt"), "Hash mismatch"),
    "an added file": (lambda folder: (folder / "new").write_text("x"), "Extra files found.*new"),
    "an added Git file": (
        lambda folder: (folder / ".gitignore").write_text("x"),
        "Extra files found.*gitignore",
    ),
    "a missing file": (lambda folder: (folder / "model.bin").unlink(), "Missing files.*model.bin"),
    "a renamed file": (
        lambda folder: (folder / "model.bin").rename(folder / "m.bin"),
        "Extra files.*Missing",
    ),
    "a link": (lambda folder: (folder / "link").symlink_to(folder / "model.bin"), "not fit the files"),
    "no signature": (lambda folder: (folder / SIGNATURE).unlink(), "not signed, it has no model.sig"),
    "an empty signature": (lambda folder: (folder / SIGNATURE).write_text(""), "damaged"),
    "a signature that names no key": (lambda folder: (folder / SIGNATURE).write_text("[]"), "damaged"),
    "another key": (other_key, "none of the 1 trusted"),
    "another key under a trusted name": (renamed_hint, "was not made by the key"),
    "the signature of another": (of_another, "does not fit the files"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_as_it_was_signed_is_refused_by_name(
    signed: Path, keys: Keys, tmp_path: Path, damage: str
) -> None:
    change, said = DAMAGES[damage]
    folder = shutil.copytree(signed, tmp_path / "signed")
    another = shutil.copytree(signed, tmp_path / "another", ignore=shutil.ignore_patterns("*.txt"))
    sign(another, keys)
    assert check_signature(folder, Path(keys.trusted))
    change(folder)
    with pytest.raises(IntegrityError, match=f"{folder}.*{said}"):
        check_signature(folder, Path(keys.trusted))


def test_no_flipped_byte_of_a_signature_raises_anything_but_a_refusal(
    signed: Path, keys: Keys, tmp_path: Path
) -> None:
    folder = shutil.copytree(signed, tmp_path / "signed")
    content = (signed / SIGNATURE).read_bytes()
    accepted = []
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 1 << (position % 8)
        (folder / SIGNATURE).write_bytes(changed)
        try:
            check_signature(folder, Path(keys.trusted))
            accepted.append(position)
        except IntegrityError:
            pass
    # JSON has parts that say nothing, as the name of a field that nobody reads; what is signed has none.
    envelope = json.loads(content)["dsseEnvelope"]
    signed_at = content.index(envelope["payload"].encode())
    end = signed_at + len(envelope["payload"].rstrip("="))
    assert [position for position in accepted if signed_at <= position < end - 1] == []


def test_signing_and_checking_open_no_connection(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('a connection')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from pathlib import Path\n"
        "from pt_core.keys import keys_of\n"
        "from pt_core.signing import check_signature, sign\n"
        "home, folder = Path(sys.argv[1]) / 'h', Path(sys.argv[1]) / 'f'\n"
        "folder.mkdir(); (folder / 'a').write_text('a')\n"
        "assert sign(folder, keys_of(home)) == check_signature(folder, home / 'keys' / 'trusted')\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "http_proxy": "http://127.0.0.1:9"},
    )
    assert done.stdout.strip() == "False"
