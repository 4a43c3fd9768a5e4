"""Whether a service answers: one question over HTTP, without the service's own libraries."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request

from deployments.stack.services import WORKER, Service

_TIMEOUT_S = 5.0


def answers(service: Service, *, login: str | None = None, since: float = 0.0) -> bool:
    """Return whether a service is ready for work.

    Args:
        service: which.
        login: user:password of Prefect, which the worker's health is asked of.
        since: seconds since 1970; a worker that was last heard of before is a former one of its name.
    """
    if service.name != "worker":
        return ask(service.health) is not None
    body = ask(service.health, login=login, document={"workers": {}})
    return body is not None and any(_is_ours(worker, since) for worker in json.loads(body))


def lets_in(url: str, login: tuple[str, str]) -> bool:
    """Return whether MLflow takes a user's password."""
    return ask(f"{url}/api/2.0/mlflow/users/current", login=":".join(login)) is not None


def ask(address: str, *, login: str | None = None, document: object = None) -> bytes | None:
    """Return the body of an answer with status 200; ``None`` for every other one, and for none."""
    request = urllib.request.Request(address)  # noqa: S310 - http addresses of our own making
    if login is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    if document is not None:
        request.data = json.dumps(document).encode()
        request.add_header("Content-Type", "application/json")
    # The environment's proxy is not asked for what is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return bytes(answer.read()) if answer.status == 200 else None
    except (OSError, ValueError, urllib.error.URLError):
        return None


def _is_ours(worker: dict[str, str], since: float) -> bool:
    from datetime import datetime

    heard = worker.get("last_heartbeat_time")
    online = worker.get("name") == WORKER and worker.get("status") == "ONLINE" and heard is not None
    return online and datetime.fromisoformat(str(heard)).timestamp() >= since
