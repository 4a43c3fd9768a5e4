"""Where notifications go: the user's own address, kept in Prefect as a secret, with the automations that post to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prefect.automations import AutomationCore, CallWebhook, EventTrigger, Posture
from prefect.blocks.webhook import Webhook
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from deployments.stack.services import NOTIFY_VARIABLE
from flows.home import current_home
from flows.stack_state import secrets_folder
from pt_core.errors import ConfigError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

BLOCK = "pt-pipeline-notify"
OF_EVENTS = "pt-pipeline: tell of gates, promotions and failures"
OF_CRASHES = "pt-pipeline: tell of crashes"
_TOLD = ("gate.refused", "promotion.finished", "run.failed", "run.crashed")
_OURS = {"prefect.resource.id": "prefect.tag.pt-pipeline", "prefect.resource.role": "tag"}

# "text" is what chat services show of an incoming webhook.
_OF_EVENTS = (
    '{"event": {{ event.event | tojson }}, "id": {{ event.id | string | tojson }}, '
    '"occurred": {{ event.occurred | string | tojson }}, "subject": {{ event.resource.name | tojson }}, '
    '"text": {{ event.payload.body | tojson }}}'
)
_OF_CRASHES = (
    '{"event": "prefect.flow-run.Crashed", "id": {{ event.id | string | tojson }}, '
    '"occurred": {{ event.occurred | string | tojson }}, "subject": {{ flow_run.name | tojson }}, '
    '"text": {{ ("The run " ~ flow_run.name ~ " of " ~ deployment.name ~ " crashed: " ~ flow_run.state.message) | tojson }}}'
)


def notifications() -> tuple[AutomationCore, ...]:
    """Return the automations that tell the user, with the address kept in Prefect; none where no address is configured.

    Raises:
        ConfigError: the address is none; it is not repeated, since it may hold a token.
    """
    url = notify_url()
    if url is None:
        return ()
    block = Webhook(
        method="POST",
        url=SecretStr(url),
        headers={"Content-Type": "application/json"},
    )
    document = block.save(BLOCK, overwrite=True)
    return (
        AutomationCore(
            name=OF_EVENTS,
            description="Posts the text of the product's own events to the address in the block pt-pipeline-notify.",
            trigger=EventTrigger(
                match={"prefect.resource.id": ["pt-pipeline.run.*", "pt-pipeline.model.*"]},
                expect={f"pt-pipeline.{name}" for name in _TOLD},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[CallWebhook(block_document_id=document, payload=_OF_EVENTS)],
        ),
        AutomationCore(
            name=OF_CRASHES,
            description="Posts to the address in the block pt-pipeline-notify when a run crashed.",
            trigger=EventTrigger(
                match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related=[_OURS],
                expect={"prefect.flow-run.Crashed"},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[CallWebhook(block_document_id=document, payload=_OF_CRASHES)],
        ),
    )


def forget_address(client: SyncPrefectClient) -> None:
    """Delete what posts to an address, and the address: one that a user took away is posted to no more."""
    for name in (OF_EVENTS, OF_CRASHES):
        for automation in client.read_automations_by_name(name):
            client.delete_automation(automation.id)
    try:
        document = client.read_block_document_by_name(BLOCK, Webhook.get_block_type_slug())
    except ObjectNotFound:
        return
    client.delete_block_document(document.id)


def notify_url() -> str | None:
    """Return the address that PT_PIPELINE_NOTIFY_URL or the home's ``secrets/notify`` holds, or ``None``.

    Raises:
        ConfigError: it is no http address.
    """
    path = secrets_folder(Path(current_home().root)) / "notify"
    given = os.environ.get(NOTIFY_VARIABLE, "").strip()
    source = NOTIFY_VARIABLE if given else str(path)
    if not given and path.is_file():
        given = path.read_text().strip()
    if not given:
        return None
    try:
        parts = urlsplit(given)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or not given.isprintable() or " " in given:
        raise ConfigError(f"{source}: expected one address that starts with https:// or http://")
    return given
