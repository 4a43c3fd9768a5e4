"""Whether the holder of a secret sent a request, by the one scheme that the repository's settings name."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence

from deployments.webhook.answers import RequestRefused
from deployments.webhook_config import Provider
from pt_core.record import Record

Headers = Sequence[tuple[bytes, bytes]]
"""Lower-case names and values, in the order sent."""

TOLERANCE_S = 300
"""How far a signed time may be from now, as Standard Webhooks recommends."""

_HEX = {
    "github": (b"x-hub-signature-256", b"sha256="),
    "bitbucket": (b"x-hub-signature", b"sha256="),
    "gitea": (b"x-gitea-signature", b""),
    "forgejo": (b"x-forgejo-signature", b""),
}
"""Header, and what stands before the hex digits, of the hosts that sign the body alone."""

_TOKEN_HEADER = b"x-gitlab-token"
_DIGITS = re.compile(rb"[0-9a-f]{64}")
# No dot: it separates id, time and body in what is signed, so one in the id would blur where they part.
_SIGNED_ID = re.compile(rb"[A-Za-z0-9_:-]{1,128}")
_TIME = re.compile(rb"[0-9]{1,12}")
_MAX_SIGNATURES = 8


class Seal(Record):
    """What the headers of a request claim, before its body is read."""

    signatures: tuple[bytes, ...] = ()
    """The signatures, any of which may be right; none where a token in the headers has proved the sender."""
    prefix: bytes = b""
    """What is signed before the body."""
    signed_id: str | None = None
    """The delivery's id, if the signature covers it."""


def signs_body_alone(provider: Provider) -> bool:
    """Whether a copy of a signed body under a new delivery id would still verify."""
    return provider in _HEX


def one_header(headers: Headers, name: bytes) -> bytes | None:
    """Return the value of a header, or ``None`` if it is not there.

    Raises:
        RequestRefused: it is there twice: which one counts would be a matter of taste.
    """
    values = [value for key, value in headers if key == name]
    if len(values) > 1:
        raise RequestRefused(f"the header {name.decode()} is there {len(values)} times", status=401)
    return values[0] if values else None


def read_seal(provider: Provider, headers: Headers, secrets: Sequence[bytes], *, now: float) -> Seal:
    """Return what the headers claim; all that can be refused without the body is refused here.

    Raises:
        RequestRefused: the signature of this provider's scheme is missing, malformed, doubled or stale, or the token is
            wrong. The headers of other schemes are not looked at, so that a weaker one cannot stand in.
    """
    if provider in _HEX:
        return _hex_seal(headers, *_HEX[provider])
    if provider == "gitlab-token":
        _check_token(_required(headers, _TOKEN_HEADER), secrets)
        return Seal()
    return _standard_seal(headers, now=now)


def check_seal(provider: Provider, seal: Seal, body: bytes, secrets: Sequence[bytes]) -> None:
    """Compare the signatures with the body's own.

    Raises:
        RequestRefused: none of them is right.
    """
    if provider == "gitlab-token":
        return
    matches = False
    for secret in secrets:
        expected = sign(provider, secret, seal.prefix + body)
        for signature in seal.signatures:
            matches |= hmac.compare_digest(expected, signature)
    if not matches:
        raise RequestRefused(
            "the signature does not fit the body; is the secret the same on both sides?", status=401
        )


def sign(provider: Provider, secret: bytes, content: bytes) -> bytes:
    """Return the signature of signed content: hex digits, or Base64 by Standard Webhooks."""
    digest = hmac.digest(secret, content, hashlib.sha256)
    return digest.hex().encode() if provider in _HEX else base64.b64encode(digest)


def _required(headers: Headers, name: bytes) -> bytes:
    value = one_header(headers, name)
    if not value:
        raise RequestRefused(f"the header {name.decode()} is missing or empty", status=401)
    return value


def _hex_seal(headers: Headers, name: bytes, before: bytes) -> Seal:
    value = _required(headers, name)
    digits = value.removeprefix(before)
    if not value.startswith(before) or not _DIGITS.fullmatch(digits):
        expected = f"{before.decode()}<64 lower-case hex digits>"
        raise RequestRefused(f"the header {name.decode()} is malformed; expected {expected}", status=401)
    return Seal(signatures=(digits,))


def _check_token(token: bytes, secrets: Sequence[bytes]) -> None:
    # Digests, because compare_digest tells by its time whether two lengths are equal.
    given = hashlib.sha256(token).digest()
    if not any(hmac.compare_digest(given, hashlib.sha256(secret).digest()) for secret in secrets):
        raise RequestRefused("the header x-gitlab-token is not this repository's secret", status=401)


def _standard_seal(headers: Headers, *, now: float) -> Seal:
    identity = _required(headers, b"webhook-id")
    time = _required(headers, b"webhook-timestamp")
    signatures = [
        part[3:] for part in _required(headers, b"webhook-signature").split(b" ") if part[:3] == b"v1,"
    ]
    if not _SIGNED_ID.fullmatch(identity) or not _TIME.fullmatch(time):
        raise RequestRefused("the header webhook-id or webhook-timestamp is malformed", status=401)
    if not 1 <= len(signatures) <= _MAX_SIGNATURES:
        raise RequestRefused("the header webhook-signature is malformed; expected v1,<base64>", status=401)
    if not abs(now - int(time)) <= TOLERANCE_S:
        raise RequestRefused(
            f"the header webhook-timestamp is more than {TOLERANCE_S} s from this machine's clock", status=401
        )
    return Seal(
        signatures=tuple(signatures), prefix=identity + b"." + time + b".", signed_id=identity.decode()
    )
