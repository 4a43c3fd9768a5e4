"""What the receiver answers to a request: the order of its checks, from the address to the journal."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from deployments.webhook.answers import Answer, RequestRefused
from deployments.webhook.filters import choose
from deployments.webhook.journal import KEPT_DAYS, Delivery, add
from deployments.webhook.journal_file import Journal
from deployments.webhook.payloads import Push, read_pushes
from deployments.webhook.secret_files import Secrets
from deployments.webhook.signatures import (
    Headers,
    Seal,
    check_seal,
    one_header,
    read_seal,
    signs_body_alone,
)
from deployments.webhook.strict_json import read_object
from deployments.webhook_config import Repository

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(rb"/hooks/([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+)")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_JSON = re.compile(rb'application/json(\s*;\s*charset="?utf-8"?)?\s*', re.IGNORECASE)

_ID_HEADERS: Mapping[str, tuple[bytes, ...]] = {
    "github": (b"x-github-delivery",),
    "gitea": (b"x-gitea-delivery",),
    "forgejo": (b"x-forgejo-delivery",),
    "bitbucket": (b"x-request-uuid",),
    "gitlab-token": (b"idempotency-key", b"x-gitlab-event-uuid"),
}
_EVENT_HEADERS = {
    "github": b"x-github-event",
    "gitea": b"x-gitea-event",
    "forgejo": b"x-forgejo-event",
    "bitbucket": b"x-event-key",
    "gitlab-token": b"x-gitlab-event",
    "gitlab-signed": b"x-gitlab-event",
}


@dataclass(frozen=True)
class Receiver:
    """What every request is judged by."""

    repositories: Mapping[str, Repository]
    """By name, which is the last part of a hook's address."""
    secrets: Secrets
    """By the repository's name."""
    journal: Journal
    """Where accepted deliveries are kept."""
    wake: threading.Event
    """Tells the dispatcher that there is something to start."""


@dataclass(frozen=True)
class Admitted:
    """A request whose headers allow to read its body."""

    repository: Repository
    """The repository of its address, which fixes how it must be signed."""
    seal: Seal
    """What its headers claim about the body."""
    delivery_id: str
    """The sender's id of the delivery."""
    event: str | None
    """The sender's name of the event; ``None`` where the body holds it."""


def admit(receiver: Receiver, method: bytes, target: bytes, headers: Headers) -> Admitted | Answer:
    """Judge a request by its headers.

    Raises:
        RequestRefused: it is refused whatever its body is.
    """
    if target == b"/health":
        return _health(method)
    address = _ADDRESS.fullmatch(target)
    repository = receiver.repositories.get(address[1].decode()) if address else None
    if repository is None:
        raise RequestRefused("there is no hook at this address", status=404)
    if method != b"POST":
        raise RequestRefused("a hook takes POST only", status=405)
    seal = read_seal(repository.provider, headers, receiver.secrets[repository.name], now=time.time())
    _check_type(headers)
    return Admitted(
        repository=repository,
        seal=seal,
        delivery_id=seal.signed_id or _delivery_id(repository, headers),
        event=_event(repository, headers),
    )


def receive(receiver: Receiver, admitted: Admitted, body: bytes) -> Answer:
    """Judge a whole request; a push that shall start a run is in the journal when this returns.

    Raises:
        RequestRefused: it is not signed, or is malformed.
    """
    repository = admitted.repository
    check_seal(repository.provider, admitted.seal, body, receiver.secrets[repository.name])
    tree = read_object(body)
    event = admitted.event if admitted.event is not None else str(tree.get("type"))
    pushes = read_pushes(repository.provider, event, tree)
    chosen = pushes if isinstance(pushes, str) else choose(pushes, repository)
    if isinstance(chosen, str):
        logger.info("%s: delivery %s ignored: %s", repository.name, admitted.delivery_id, chosen)
        return Answer(status=200, result="ignored", reason=chosen)
    return _accept(receiver, admitted, chosen, body)


def _accept(receiver: Receiver, admitted: Admitted, push: Push, body: bytes) -> Answer:
    repository, commit = admitted.repository, push.commit
    assert commit is not None, "choose() leaves deletions out"
    alone = signs_body_alone(repository.provider)
    delivery = Delivery(
        id=admitted.delivery_id,
        repository=repository.name,
        branch=repository.branch,
        commit=commit,
        before=push.before,
        body_sha256=hashlib.sha256(body).hexdigest() if alone else None,
        received_at=time.time(),
    )
    entry = add(receiver.journal, delivery, forced=push.forced)
    found = entry.delivery
    if found is None:
        return Answer(status=200, result="already", reason=f"received before, over {KEPT_DAYS} days ago")
    if not entry.is_new:
        same = "" if found.id == delivery.id else f", as delivery {found.id}"
        reason = f"received before{same}; it is {found.state}, see pt-pipeline deliveries show {found.id}"
        return Answer(status=200, result="already", reason=reason, delivery=found.id)
    if found.state == "superseded":
        logger.info("%s: delivery %s came late: %s", repository.name, found.id, found.reason)
        return Answer(status=200, result="ignored", reason=found.reason, delivery=found.id)
    receiver.wake.set()
    logger.info("%s: delivery %s accepted: commit %s", repository.name, delivery.id, delivery.commit)
    return Answer(status=202, result="accepted", reason="a run will be started", delivery=delivery.id)


def _health(method: bytes) -> Answer:
    if method != b"GET":
        raise RequestRefused("health takes GET only", status=405)
    return Answer(status=200, result="ok")


def _check_type(headers: Headers) -> None:
    if one_header(headers, b"content-encoding") not in (None, b"identity"):
        raise RequestRefused("the body is compressed; expected plain JSON", status=415)
    if not _JSON.fullmatch(one_header(headers, b"content-type") or b""):
        raise RequestRefused(
            "the content type is not application/json; choose it in the settings of the hook", status=415
        )


def _delivery_id(repository: Repository, headers: Headers) -> str:
    names = _ID_HEADERS[repository.provider]
    values = [value for name in names if (value := one_header(headers, name))]
    text = values[0].decode("latin-1") if values else ""
    if not _ID.fullmatch(text):
        raise RequestRefused(f"the header {names[0].decode()} is missing or no id of a delivery")
    return text


def _event(repository: Repository, headers: Headers) -> str | None:
    name = _EVENT_HEADERS.get(repository.provider)
    if name is None:
        return None
    value = one_header(headers, name)
    if not value:
        raise RequestRefused(f"the header {name.decode()} is missing")
    return value.decode("latin-1")
