"""Where notifications go: the user's own address, kept in Prefect as a secret, with the automation that posts to it."""

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
TELLING = "pt-pipeline: tell of gates, promotions, failures and crashes"
_TOLD = ("gate.refused", "promotion.finished", "run.failed", "run.crashed")
_RESOURCES = ["pt-pipeline.run.*", "pt-pipeline.model.*", "prefect.flow-run.*"]
_OURS = {"prefect.resource.id": "prefect.tag.pt-pipeline", "prefect.resource.role": "tag"}

# "text" is what chat services show of an incoming webhook; Prefect's own event of a crash comes without one.
_TEXT = 'event.payload.body or ("The run " ~ flow_run.name ~ " of " ~ deployment.name ~ " crashed: " ~ flow_run.state.message)'
_MESSAGE = (
    '{"event": {{ event.event | tojson }}, "id": {{ event.id | string | tojson }}, '
    '"occurred": {{ event.occurred | string | tojson }}, "subject": {{ event.resource.name | tojson }}, '
    f'"text": {{{{ ({_TEXT}) | tojson }}}}}}'
)


def notifications() -> tuple[AutomationCore, ...]:
    """Return the automation that tells the user, with the address kept in Prefect; none where no address is configured.

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
            name=TELLING,
            description="Posts to the address in the block pt-pipeline-notify what people should know.",
            trigger=EventTrigger(
                match={"prefect.resource.id": _RESOURCES},
                match_related=[_OURS],
                # Of a deployed run's crash Prefect tells at once, though every worker may be gone.
                expect={"prefect.flow-run.Crashed", *(f"pt-pipeline.{name}" for name in _TOLD)},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[CallWebhook(block_document_id=document, payload=_MESSAGE)],
        ),
    )


def forget_address(client: SyncPrefectClient) -> None:
    """Delete what posts to an address, and the address: one that a user took away is posted to no more."""
    for automation in client.read_automations_by_name(TELLING):
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
