"""Requests that must start nothing: valid ones of every Git host, changed in structure or byte by byte."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import random
import time
import uuid
from collections.abc import Callable

SECRET = "the-secret-that-must-never-be-told"
STANDARD_KEY = b"sixteen bytes or more of a key"
STANDARD_SECRET = f"whsec_{base64.b64encode(STANDARD_KEY).decode()}"
TOLD = ("TOLD-BY-THE-PUSH", "$(id)", "<img src=x>", "{{ 7*7 }}")
"""Parts of a text in every push that nobody needs: none may stand in a run, a log line, the journal or an answer."""
BREAKING_REF = "refs/heads/<b>\r\nX: y"
"""A ref is repeated in an answer and a log line: it may begin no line there, and be no page's text."""

SIGNED_BODY = ("github", "bitbucket", "gitea", "forgejo", "gitlab-signed", "standard")
ALL = (*SIGNED_BODY, "gitlab-token")

CONFIG = "repositories:\n" + "".join(
    f'  - {{name: team/{name}, provider: {name}, clone_url: "https://git.example/{name}.git"'
    + (", secret_file: standard" if name in ("gitlab-signed", "standard") else "")
    + "}\n"
    for name in ALL
)


@dataclasses.dataclass
class Request:
    """A request whose parts can still be changed."""

    provider: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    method: bytes = b"POST"

    def raw(self) -> bytes:
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in self.headers)
        start = self.method + b" /hooks/team/" + self.provider.encode() + b" HTTP/1.1\r\n"
        return start + lines + b"\r\n" + self.body


def commit(number: int) -> str:
    return hashlib.sha1(str(number).encode()).hexdigest()


def payload(provider: str, number: int, *, ref: str = "refs/heads/main", sha: str | None = None) -> dict:
    sha, name = sha or commit(number), f"team/{provider}"
    noise = {"pusher": {"name": " ".join(TOLD) + "\x1b[31m"}, "number": number}
    if provider in ("gitlab-token", "gitlab-signed"):
        return {"ref": ref, "after": sha, "project": {"path_with_namespace": name}, **noise}
    if provider == "bitbucket":
        kind = "tag" if ref.startswith("refs/tags/") else "branch"
        new = {"type": kind, "name": ref.split("/", 2)[-1], "target": {"hash": sha}}
        return {"repository": {"full_name": name}, "push": {"changes": [{"new": new}]}, **noise}
    if provider == "standard":
        return {"type": "push", "data": {"repository": name, "ref": ref, "after": sha}, **noise}
    return {"ref": ref, "after": sha, "repository": {"full_name": name}, **noise}


def signed(
    provider: str,
    body: bytes,
    *,
    secret: str = SECRET,
    key: bytes = STANDARD_KEY,
    delivery: str,
    age: int = 0,
) -> Request:
    """Return a request as its host signs it, written without the product's code."""
    digits = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    stamp = str(int(time.time()) - age)
    mac = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    standard = {
        "webhook-id": delivery,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }
    own = {
        "github": {
            **{"X-Hub-Signature-256": f"sha256={digits}", "X-GitHub-Event": "push"},
            "X-GitHub-Delivery": delivery,
        },
        "bitbucket": {
            **{"X-Hub-Signature": f"sha256={digits}", "X-Event-Key": "repo:push"},
            "X-Request-UUID": delivery,
        },
        "gitea": {"X-Gitea-Signature": digits, "X-Gitea-Event": "push", "X-Gitea-Delivery": delivery},
        "forgejo": {"X-Forgejo-Signature": digits, "X-Forgejo-Event": "push", "X-Forgejo-Delivery": delivery},
        "gitlab-token": {
            **{"X-Gitlab-Token": secret, "X-Gitlab-Event": "Push Hook"},
            "X-Gitlab-Event-UUID": delivery,
        },
        "gitlab-signed": {**standard, "X-Gitlab-Event": "Push Hook"},
        "standard": standard,
    }[provider]
    common = {"Host": "x", "Content-Type": "application/json", "Content-Length": str(len(body))}
    headers = [(name.encode(), value.encode()) for name, value in {**common, **own}.items()]
    return Request(provider, headers, body)


def good(provider: str, number: int, delivery: str) -> bytes:
    return signed(provider, json.dumps(payload(provider, number)).encode(), delivery=delivery).raw()


def _proof(request: Request) -> int:
    """Return which header proves the sender."""
    names = (b"signature", b"token")
    return next(
        i for i, (name, _) in enumerate(request.headers) if name.lower().split(b"-256")[0].endswith(names)
    )


def _change_proof(request: Request, chance: random.Random) -> bytes:
    at = _proof(request)
    name, value = request.headers[at]
    changed: list[list[tuple[bytes, bytes]]] = [
        [],
        [(name, b"")],
        [(name, value.upper() + b"A")],
        [(name, value), (name, value)],
        [(name, b"x"), (name, value)],
        [(name, value[:-2])],
        [(name, value + b"=")],
        [(name, "é".encode() * 20)],
        [(name, b"\xff" * 64)],
        [(name, value.replace(b"sha256", b"sha1").replace(b"v1,", b"v2,") + b"0")],
        [(name, value[:7] + b"0" * (len(value) - 7))],
        [(b"X-Hub-Signature-512", value)],
        [(name + b" ", value)],
        [(b"X-Forwarded-" + name, value)],
    ]
    request.headers[at : at + 1] = chance.choice(changed)
    return request.raw()


def _wrong_secret(provider: str, number: int, chance: random.Random) -> Request:
    body = json.dumps(payload(provider, number)).encode()
    secret = chance.choice([SECRET[:-1], SECRET + "x", SECRET.upper(), "", "changeme", "\t"])
    return signed(provider, body, secret=secret, key=secret.encode(), delivery=str(uuid.uuid4()))


def _other_scheme(request: Request, chance: random.Random) -> bytes:
    """Offer the right proofs of all the other schemes in the place of the configured one."""
    del request.headers[_proof(request)]
    for other in chance.sample(ALL, 4):
        if other != request.provider and {other, request.provider} != {"standard", "gitlab-signed"}:
            extra = signed(other, request.body, delivery=str(uuid.uuid4())).headers[3:]
            request.headers += [
                h for h in extra if h[0].lower() not in {n.lower() for n, _ in request.headers}
            ]
    if request.provider == "bitbucket":
        # GitHub's old header has Bitbucket's name.
        request.headers = [h for h in request.headers if h[0] != b"X-Hub-Signature"]
    return request.raw()


def _change_body(request: Request, chance: random.Random) -> bytes:
    body = bytearray(request.body)
    body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    request.body = bytes(body)
    return request.raw()


def _authorised_nonsense(provider: str, number: int, chance: random.Random) -> bytes:
    """A request that its host did sign, and that must start nothing all the same."""
    fine = payload(provider, number)
    refs = [
        "refs/tags/main",
        "refs/heads/m\u0430in",
        "refs/heads/main\u200b",
        "refs/heads/MAIN",
        BREAKING_REF,
        "refs/heads/refs/heads/main",
    ]
    commits = ["0" * 40, "main", "{{ $HOME }}", "$(touch /tmp/x)", "\uff10" * 40, "a" * 39, "A" * 40, ""]
    text = json.dumps(fine)
    bodies = [
        lambda: json.dumps(payload(provider, number, ref=chance.choice(refs))).encode(),
        lambda: json.dumps(payload(provider, number, sha=chance.choice(commits) or "x")).encode(),
        lambda: text.replace(f"team/{provider}", "team/other").encode(),
        lambda: b"[" * chance.randrange(1_000, 50_000),
        lambda: (text[:-1] + ', "number": 1}').encode(),
        lambda: (text[:-1] + ', "n": NaN}').encode(),
        lambda: text.encode() + b"\xff\xfe",
        lambda: text.encode("utf-16"),
        lambda: f"[{text}]".encode(),
        lambda: b"payload=" + text.encode(),
        lambda: b"",
        lambda: json.dumps(dict.fromkeys(fine)).encode(),
        lambda: json.dumps(dict.fromkeys(fine, (1, "a"))).encode(),
    ]
    body = chance.choice(bodies)()
    return signed(provider, body, delivery=str(uuid.uuid4())).raw()


def _change_type(request: Request, chance: random.Random) -> bytes:
    kinds = [b"application/x-www-form-urlencoded", b"text/plain", b"", b"application/json; charset=utf-16"]
    request.headers = [
        (name, chance.choice(kinds) if name == b"Content-Type" else value) for name, value in request.headers
    ]
    return request.raw()


def _lie_about_length(request: Request, chance: random.Random) -> bytes:
    length = len(request.body)
    lies = [
        (b"Content-Length", str(length - chance.randrange(1, 20)).encode()),
        (b"Content-Length", str(length + chance.randrange(1, 20)).encode()),
        (b"Content-Length", chance.choice([b"-1", b"1e3", b"0x10", b"", b"9" * 40, b"26000000", b" 5, 6"])),
        (
            b"Transfer-Encoding",
            chance.choice([b"chunked", b"gzip, chunked", b"identity", b"chunked, chunked"]),
        ),
    ]
    request.headers = [h for h in request.headers if h[0] != b"Content-Length"] + [chance.choice(lies)]
    return request.raw()


def _flip_bytes(raw: bytes, chance: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(chance.randrange(1, 30)):
        at = chance.randrange(len(changed))
        kind = chance.randrange(4)
        if kind == 0:
            changed[at] = chance.randrange(256)
        elif kind == 1:
            changed[at:at] = chance.randbytes(chance.randrange(1, 8))
        elif kind == 2:
            del changed[at : at + chance.randrange(1, 8)]
        else:
            changed[at:at] = chance.choice([b"\r\n", b"\r\n\r\n", b"\x00", b"%0d%0a", b"\xe2\x80\x8b"])
        changed = changed or bytearray(b"x")
    return bytes(changed)


def _expired(provider: str, number: int, chance: random.Random) -> bytes:
    body = json.dumps(payload(provider, number)).encode()
    age = chance.choice([400, 4_000, -400, 10**9])
    return signed(provider, body, delivery=str(uuid.uuid4()), age=age).raw()


def _under_another_id(chance: random.Random) -> bytes:
    """One of the good requests, overheard: its signature covers the body alone."""
    provider = chance.choice(("github", "bitbucket", "gitea", "forgejo"))
    return good(provider, -ALL.index(provider), str(uuid.uuid4()))


def hostile(number: int, chance: random.Random, sent: list[bytes]) -> tuple[str, bytes]:
    """Return one request that must start nothing, and what kind it is; ``sent`` are good ones to send again."""
    provider = chance.choice(ALL)
    fine = signed(provider, json.dumps(payload(provider, number)).encode(), delivery=str(uuid.uuid4()))
    wrong = _wrong_secret(provider, number, chance)
    signer = chance.choice(SIGNED_BODY)
    by_body = signed(signer, json.dumps(payload(signer, number)).encode(), delivery=str(uuid.uuid4()))
    kinds: dict[str, Callable[[], bytes]] = {
        "proof": lambda: _change_proof(fine, chance),
        "secret": lambda: wrong.raw(),
        "scheme": lambda: _other_scheme(fine, chance),
        "body": lambda: _change_body(by_body, chance),
        "nonsense": lambda: _authorised_nonsense(provider, number, chance),
        "type": lambda: _change_type(fine, chance),
        "length": lambda: _lie_about_length(wrong, chance),
        "bytes": lambda: _flip_bytes(wrong.raw(), chance),
        "garbage": lambda: chance.randbytes(chance.randrange(1, 2_000)),
        "expired": lambda: _expired(chance.choice(["standard", "gitlab-signed"]), number, chance),
        "again": lambda: chance.choice(sent),
        "same body": lambda: _under_another_id(chance),
    }
    kind = chance.choice(list(kinds))
    return kind, kinds[kind]()
