"""Move the aliases of a model as a promotion or a rollback says, while holding the lock on them."""

from __future__ import annotations

from pathlib import Path

from pt_core.errors import PromotionConflict
from tasks.alias_lock import alias_lock
from tasks.promotion import Promotion, PromotionPlaces
from tasks.registering import (
    APPROVED_BY,
    NO_CHAMPION,
    PREVIOUS_CHAMPION,
    PROMOTION_STATE,
    ROLLED_BACK_TO,
    drop_alias,
    set_alias,
    tag,
)
from tasks.registry import CHALLENGER, CHAMPION, RegisteredVersion, find_alias, find_version


def challenge(places: PromotionPlaces, promotion: Promotion) -> None:
    """Point ``challenger`` at a promotion's version, and not while another is about to remove it from its own.

    Raises:
        PromotionConflict: somebody else is about to move an alias.
    """
    uri, version = places.tracking_uri, version_of(places, promotion)
    with alias_lock(Path(places.journal), uri, name=promotion.model):
        set_alias(uri, version, CHALLENGER)


def move_champion(places: PromotionPlaces, promotion: Promotion) -> None:
    """Point ``champion`` at a promotion's version if it still points where it did when that began.

    Raises:
        PromotionConflict: it does not, or somebody else is about to move it.
    """
    uri, version = places.tracking_uri, version_of(places, promotion)
    with alias_lock(Path(places.journal), uri, name=promotion.model) as held:
        champion = find_alias(uri, name=promotion.model, alias=CHAMPION)
        check_champion(promotion, champion)
        if promotion.kind == "promotion":
            approved = {APPROVED_BY: promotion.approved_by} if promotion.approved_by else {}
            tag(uri, version, {PREVIOUS_CHAMPION: champion.version if champion else NO_CHAMPION, **approved})
        held.check()
        set_alias(uri, version, CHAMPION)
        drop_alias(uri, version, CHALLENGER)
        if promotion.kind == "promotion":
            tag(uri, version, {PROMOTION_STATE: "champion"})
        elif champion is not None:
            tag(uri, champion, {ROLLED_BACK_TO: version.version})


def version_of(places: PromotionPlaces, promotion: Promotion) -> RegisteredVersion:
    """Return the version that a promotion is about, once it is registered."""
    assert promotion.version is not None
    return find_version(places.tracking_uri, name=promotion.model, version=promotion.version)


def check_champion(promotion: Promotion, champion: RegisteredVersion | None) -> None:
    """Check that ``champion`` points where it did when a promotion began.

    Raises:
        PromotionConflict: it does not.
    """
    found = champion.version if champion else None
    if found == promotion.expected:
        return
    words = [f"version {version}" if version else "no version" for version in (promotion.expected, found)]
    remedy = (
        "run the pipeline again, to be compared with it, or promote all the same with --force --reason TEXT"
        if promotion.kind == "promotion"
        else "look at pt-pipeline versions, and roll back again if it is still wanted"
    )
    raise PromotionConflict(
        f"models:/{promotion.model}@{CHAMPION} moved meanwhile: {words[0]} was expected, {words[1]} found; {remedy}"
    )
