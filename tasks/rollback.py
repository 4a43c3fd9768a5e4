"""Roll back: point ``champion`` at the version before it, or at a given one, if its files still verify."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pt_core.errors import ConfigError
from tasks import journal
from tasks.dashboard import without_secrets
from tasks.moving import move_champion
from tasks.promotion import OnStep, Promotion, PromotionPlaces
from tasks.recover import recover, settle_quietly
from tasks.registering import NO_CHAMPION, PREVIOUS_CHAMPION, PROMOTION_STATE
from tasks.registry import CHAMPION, RegisteredVersion, download, find_alias, find_version, list_versions


def rollback(
    places: PromotionPlaces,
    *,
    identity: str,
    model: str,
    to: str | None = None,
    on_step: OnStep | None = None,
) -> Promotion:
    """Make an earlier version champion again, and return what was done.

    What dead processes left is completed or taken back first.

    Args:
        places: where.
        identity: of this rollback in the journal; one that moved the alias already is returned as it ended, and not
            done a second time.
        model: name of the registered model.
        to: the version; the one that the champion took the place of, if left out.
        on_step: told of every line of the journal.

    Raises:
        ConfigError: there is no champion, no version before it, or no such version that ever was champion.
        IntegrityError: the version's files are not what was registered, or nobody trusted signed them.
        PromotionConflict: the alias was moved meanwhile.
    """
    recover(places)
    folder, uri = Path(places.journal), places.tracking_uri
    known = journal.read(folder, identity)
    if known is not None and known.state == "champion":
        return known
    champion = find_alias(uri, name=model, alias=CHAMPION)
    if champion is None:
        raise ConfigError(f"models:/{model}: has no alias {CHAMPION}, so there is nothing to roll back")
    target = _target(uri, champion, to)
    download(uri, target, folder=Path(places.releases), fresh=True, trust=places.trust)
    promotion = Promotion(
        id=identity,
        kind="rollback",
        model=model,
        tracking_uri=without_secrets(places.tracking_uri),
        expected=champion.version,
        version=target.version,
        release_digest=target.release_digest,
        run_name=target.run_name,
        variant=target.tags.get("variant"),
        at_work_on="champion",
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with journal.alive(folder, identity):
        _note(folder, promotion, on_step)
        try:
            move_champion(places, promotion)
        except Exception as error:
            ended = settle_quietly(places, promotion, state="undone", why=f"{type(error).__name__}: {error}")
            if ended and ended.state == "champion":
                return ended
            raise
        done = {"state": "champion", "at_work_on": None, "done": ("champion",)}
        return _note(folder, promotion.model_copy(update=done), on_step)


def _note(folder: Path, promotion: Promotion, on_step: OnStep | None) -> Promotion:
    journal.write(folder, promotion)
    if on_step:
        on_step(promotion)
    return promotion


def _target(uri: str, champion: RegisteredVersion, to: str | None) -> RegisteredVersion:
    """Return the version to go back to.

    Raises:
        ConfigError: there is none, or it never was champion.
    """
    name = champion.name
    if to is None:
        before = champion.tags.get(PREVIOUS_CHAMPION, NO_CHAMPION)
        if before == NO_CHAMPION:
            raise ConfigError(
                f"{champion.uri} is the first champion, there is none before it; --to VERSION, or the field "
                "to, names another; pt-pipeline versions lists them"
            )
        return find_version(uri, name=name, version=before)
    target = find_version(uri, name=name, version=to)
    if target.version == champion.version:
        raise ConfigError(f"{target.uri}: is champion already")
    if target.tags.get(PROMOTION_STATE) != "champion":
        # The tag is written right after the alias; what came next also says what it took the place of.
        followed = {one.tags.get(PREVIOUS_CHAMPION) for one in list_versions(uri, name=name)}
        if target.version not in followed:
            raise ConfigError(
                f"{target.uri}: never was champion ({target.tags.get(PROMOTION_STATE, 'not promoted')}); "
                f"promote its run: pt-pipeline promote {target.run_name or 'RUN'}"
            )
    return target
