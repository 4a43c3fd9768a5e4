"""Complete or take back what a promotion left when it failed or its process died; the registry says which of the two."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from pt_core.errors import ConfigError, IntegrityError, PtCoreError
from tasks import journal
from tasks.alias_lock import alias_lock
from tasks.dashboard import without_secrets
from tasks.promotion import Promotion, PromotionPlaces, PromotionState
from tasks.registering import (
    PREVIOUS_CHAMPION,
    PROMOTION,
    PROMOTION_STATE,
    ROLLED_BACK_TO,
    drop_alias,
    registered_by,
    tag,
)
from tasks.registry import CHALLENGER, CHAMPION, RegisteredVersion, find_alias, find_version, list_versions

logger = logging.getLogger(__name__)

PATIENCE_S = 30.0
"""How long to wait for another promoter; what is not settled now is settled by the next command."""


def recover(places: PromotionPlaces) -> tuple[Promotion, ...]:
    """Bring every promotion of this home to its end whose process is gone; return them as they ended."""
    folder = Path(places.journal)
    settled = []
    for promotion in journal.left_open(folder):
        if not is_about(promotion, places):
            logger.warning(
                "%s %s of %s is left for a command that works with the MLflow at %s",
                promotion.kind,
                promotion.id,
                promotion.uri,
                promotion.tracking_uri,
            )
            continue
        # Another process may be at it, or the first one may have come back.
        with contextlib.suppress(TimeoutError), journal.alive(folder, promotion.id):
            found = journal.read(folder, promotion.id)
            if found is not None and found.is_left:
                settled.append(settle_quietly(places, found, state="undone", why=_why_left(found)))
    ended_now = tuple(ended for ended in settled if ended is not None)
    for ended in ended_now:
        logger.warning("%s %s of %s: %s", ended.kind, ended.id, ended.uri, ended.note)
    return ended_now


def is_about(promotion: Promotion, places: PromotionPlaces) -> bool:
    """Return whether a promotion is about the MLflow that is used now; another one's versions have the same numbers."""
    return promotion.tracking_uri in (None, without_secrets(places.tracking_uri))


def as_it_is_now(places: PromotionPlaces, promotion: Promotion) -> Promotion:
    """Return a promotion as its journal has it, under its lock: what was read before may have ended meanwhile.

    Raises:
        ConfigError: it is about another MLflow.
    """
    now = journal.read(Path(places.journal), promotion.id) or promotion
    if not is_about(now, places):
        raise ConfigError(f"{now.uri}: was begun with the MLflow at {now.tracking_uri}; go on with that")
    return now


def settle(places: PromotionPlaces, promotion: Promotion, *, state: PromotionState, why: str) -> Promotion:
    """Write down how a promotion ended: it is complete if its version became champion, and is taken back otherwise.

    The alias ``champion`` is moved in one write, so that at every moment it points at a version that was verified before.

    Args:
        places: where.
        promotion: as the journal has it.
        state: how it ended if its version is not champion.
        why: what stopped it.
    """
    version = _registered(places, promotion)
    if version is None:
        return _close(places, promotion, state, f"{why}; nothing was registered")
    became_champion = _finish(places, promotion, version, state)
    promotion = promotion.model_copy(update={"version": version.version})
    if became_champion:
        return _close(places, promotion, "champion", f"{why}; {version.uri} is champion all the same")
    return _close(places, promotion, state, f"{why}; {CHAMPION} was not moved to {version.uri}")


def _finish(
    places: PromotionPlaces, promotion: Promotion, version: RegisteredVersion, state: PromotionState
) -> bool:
    """Remove the alias of what is in promotion, and say on the version how it ended; return whether it became champion."""
    uri = places.tracking_uri
    with alias_lock(Path(places.journal), uri, name=promotion.model, patience_s=PATIENCE_S):
        champion = find_alias(uri, name=promotion.model, alias=CHAMPION)
        became_champion = champion is not None and champion.version == version.version
        if not became_champion and promotion.kind == "promotion":
            # Whoever came next wrote down what it took the place of.
            versions = list_versions(uri, name=promotion.model)
            became_champion = any(one.tags.get(PREVIOUS_CHAMPION) == version.version for one in versions)
        drop_alias(uri, version, CHALLENGER)
        if promotion.kind == "promotion":
            tag(uri, version, {PROMOTION_STATE: "champion" if became_champion else state})
        elif became_champion:
            for before in list_versions(uri, name=promotion.model):
                if before.version == promotion.expected:
                    tag(uri, before, {ROLLED_BACK_TO: version.version})
    return became_champion


def _why_left(promotion: Promotion) -> str:
    if promotion.state == "waiting":
        return f"nobody agreed until {promotion.waits_until}"
    doing = f" while it was at {promotion.at_work_on}" if promotion.at_work_on else ""
    return f"its process ended before it did{doing}"


def _registered(places: PromotionPlaces, promotion: Promotion) -> RegisteredVersion | None:
    if promotion.version is not None:
        found = find_version(places.tracking_uri, name=promotion.model, version=promotion.version)
        if promotion.kind == "promotion" and found.tags.get(PROMOTION) != promotion.id:
            raise IntegrityError(
                f"{found.uri}: was registered by {found.tags.get(PROMOTION)}, expected {promotion.id}; this is another "
                "MLflow, or the model was made anew: if the promotion is not to be settled, remove its journal "
                f"{Path(places.journal) / promotion.id}.json"
            )
        return found
    if "release" not in promotion.done:
        return None
    # The process may have ended between registering a version and writing its number down.
    return registered_by(places.tracking_uri, name=promotion.model, promotion=promotion.id)


def _close(places: PromotionPlaces, promotion: Promotion, state: PromotionState, note: str) -> Promotion:
    ended = promotion.model_copy(update={"state": state, "note": note, "at_work_on": None})
    return journal.write(Path(places.journal), ended)


def settle_quietly(
    places: PromotionPlaces, promotion: Promotion, *, state: PromotionState, why: str
) -> Promotion | None:
    """Settle, where a failure is already on its way that a second one must not hide; ``None`` if it could not be done."""
    try:
        return settle(places, promotion, state=state, why=why)
    except (PtCoreError, OSError) as error:
        logger.warning("promotion %s is left for the next command to settle: %s", promotion.id, error)
        return None
