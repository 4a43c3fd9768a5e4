"""Raise an event in Prefect that a person can read, without ever failing or holding up who raises it."""

from __future__ import annotations

import logging
import ssl
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import httpx
from prefect.runtime import flow_run
from prefect.settings import get_current_settings

from tasks.dashboard import without_secrets

logger = logging.getLogger(__name__)

EventName = Literal[
    "pt-pipeline.gate.refused",
    "pt-pipeline.promotion.finished",
    "pt-pipeline.run.failed",
    "pt-pipeline.run.crashed",
    "pt-pipeline.maintenance.finished",
]

PATIENCE_S = 2.0
"""How long Prefect may take to accept a connection, and again to answer, before the event is given up."""
_MAX_BODY = 4000
_POSTED = {"prefect.resource.id": "prefect.tag.pt-pipeline", "prefect.resource.role": "tag"}


def emit(
    event: EventName,
    *,
    resource_id: str,
    resource_name: str,
    body: str,
    figures: Mapping[str, str] | None = None,
    is_posted: bool = True,
) -> bool:
    """Raise an event and return whether Prefect took it; that it did not is a warning.

    It is posted rather than given to Prefect's own queue, which is emptied as the process ends: for minutes where the
    server hangs, and not at all where the process is killed.

    Args:
        event: what happened.
        resource_id: what it happened to, e.g. ``pt-pipeline.run.digits-20261123``; unique, and the same each time.
        resource_name: the same for people.
        body: what a person is to read; passwords in addresses are taken out.
        figures: facts by name, for automations and scripts.
        is_posted: whether the automation that tells people takes it up, which it knows by a tag.
    """
    settings = get_current_settings().api
    # Without a server of its own a run has a temporary one, which nobody watches.
    if not settings.url:
        return False
    document = {
        "id": str(uuid.uuid4()),
        "event": event,
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": resource_id, "prefect.resource.name": resource_name},
        "related": [*_related(), *([_POSTED] if is_posted else [])],
        "payload": {"body": without_secrets(body)[:_MAX_BODY], **(figures or {})},
    }
    try:
        with _client() as client:
            client.post(f"{settings.url}/events", json=[document]).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        logger.warning("%s: the event was not taken by Prefect: %s", event, type(error).__name__)
        return False
    return True


def _related() -> list[dict[str, str]]:
    """Return what the event is about besides its resource, so that it stands on the flow run's page."""
    if not flow_run.id:
        return []
    return [{"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}]


def _client() -> httpx.Client:
    """Return a client with the login and the certificates that Prefect's own client would use, and no retries."""
    api = get_current_settings().api
    headers = {}
    auth = None
    if api.auth_string:
        user, _, password = api.auth_string.get_secret_value().partition(":")
        auth = httpx.BasicAuth(user, password)
    elif api.key:
        headers["Authorization"] = f"Bearer {api.key.get_secret_value()}"
    verify = ssl.create_default_context(cafile=api.ssl_cert_file)
    if api.tls_insecure_skip_verify:
        verify.check_hostname, verify.verify_mode = False, ssl.CERT_NONE
    return httpx.Client(headers=headers, auth=auth, verify=verify, timeout=PATIENCE_S)
