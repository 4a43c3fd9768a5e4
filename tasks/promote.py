"""Promote a variant of a finished run: release, register, replay from a fresh download, and only then move the alias."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pydantic import JsonValue

from pt_core.artifacts.integrity import IntegrityReport
from pt_core.decision.result import RunResult, VariantResult
from pt_core.errors import ConfigError, GateRefused, PromotionConflict
from pt_core.inference.requests import VerifyRequest
from pt_core.isolation import run_isolated
from pt_core.release.release import chosen, make_release, open_release
from pt_core.release.requests import ARTIFACT, ReleaseRequest
from tasks import journal
from tasks.compared import is_same, met_champion
from tasks.dashboard import without_secrets
from tasks.moving import challenge, check_champion, move_champion, version_of
from tasks.promotion import OnStep, Promotion, PromotionPlaces, PromotionState, PromotionStep
from tasks.promotion_tags import describe_version, version_tags
from tasks.recover import as_it_is_now, recover, settle, settle_quietly
from tasks.registering import check_run, register
from tasks.registry import CHAMPION, RegisteredVersion, download, find_alias

REPLAY_TIMEOUT_S = 900
STEPS: tuple[PromotionStep, ...] = ("release", "register", "challenger", "replay", "approval", "champion")


def begin(
    places: PromotionPlaces,
    result: RunResult,
    *,
    identity: str,
    model: str,
    variant: str | None = None,
    forced_because: str | None = None,
    needs_approval: bool = False,
    approval_timeout_s: float = 86_400,
) -> Promotion:
    """Refuse what must not be promoted, and return the promotion of what may be; nothing is written yet.

    What dead processes left is completed or taken back first.

    Raises:
        GateRefused: the variant is not promotable; the message says why.
        ConfigError: there is no such variant, the run is not in this MLflow, or the reason to force it is blank.
        PromotionConflict: another version is champion than the run was compared with.
    """
    if forced_because is not None and not forced_because.strip():
        raise ConfigError("promote: what is forced is stamped with its reason, and this one is blank")
    recover(places)
    name = _promotable(result, variant, forced_because).name
    check_run(places.tracking_uri, result.mlflow_run_id, run_name=result.run_name)
    champion = find_alias(places.tracking_uri, name=model, alias=CHAMPION)
    begun = Promotion(
        id=identity,
        kind="promotion",
        model=model,
        tracking_uri=without_secrets(places.tracking_uri),
        expected=champion.version if champion else None,
        run_name=result.run_name,
        variant=name,
        forced_because=forced_because,
        needs_approval=needs_approval,
        approval_timeout_s=approval_timeout_s,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if champion is not None and is_same(champion, result, name):
        note = f"{champion.uri} is champion already"
        return begun.model_copy(update={"state": "champion", "version": champion.version, "note": note})
    if forced_because is None:
        begun = begun.model_copy(update={"expected": met_champion(result, model, now=champion)})
    check_champion(begun, champion)
    return begun


def proceed(
    places: PromotionPlaces,
    promotion: Promotion,
    result: RunResult,
    *,
    config: Mapping[str, JsonValue] | None = None,
    approved_by: str | None = None,
    on_step: OnStep | None = None,
) -> Promotion:
    """Do what is left of a promotion, each step written down before and after it; stop where a person must agree.

    Args:
        places: where.
        promotion: from :func:`begin`, or from the journal where it waited.
        result: the run.
        config: its configuration, for the release's lineage.
        approved_by: who agreed, where somebody had to.
        on_step: told of every line of the journal.

    Raises:
        PromotionConflict: the alias was moved meanwhile, or the promotion ended already; nothing of it is left but its
            version.
        ConfigError: it is about another MLflow.
        PtCoreError: a step failed; the same holds.
    """
    folder = Path(places.journal)
    with journal.alive(folder, promotion.id):
        promotion = as_it_is_now(places, promotion)
        if promotion.has_ended:
            raise PromotionConflict(
                f"{promotion.uri}: this promotion ended already, {promotion.state}: {promotion.note or 'done'}"
            )
        note = partial(_note, folder, on_step)
        if approved_by is not None or promotion.state == "open":
            promotion = note(promotion, state="open", approved_by=approved_by)
        try:
            for step in STEPS:
                if step in promotion.done:
                    continue
                if step == "approval" and promotion.needs_approval and promotion.approved_by is None:
                    return note(
                        promotion, state="waiting", waits_until=promotion.waits_until or _deadline(promotion)
                    )
                promotion = note(promotion, at_work_on=step)
                promotion = _perform(step, places, promotion, result, config)
                promotion = note(promotion, at_work_on=None, done=(*promotion.done, step))
            return note(promotion, state="champion")
        except Exception as error:
            ended = settle_quietly(places, promotion, state=_state_after(error), why=_why(error))
            # The answer to the write that moved the alias can be lost: the registry knows.
            if ended and ended.state == "champion":
                return ended
            raise


def _state_after(error: Exception) -> PromotionState:
    return "lost" if isinstance(error, PromotionConflict) else "undone"


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1000]


def _deadline(promotion: Promotion) -> str:
    ends = datetime.now(UTC) + timedelta(seconds=promotion.approval_timeout_s)
    return ends.isoformat(timespec="seconds")


def _perform(
    step: PromotionStep,
    places: PromotionPlaces,
    promotion: Promotion,
    result: RunResult,
    config: Mapping[str, JsonValue] | None,
) -> Promotion:
    if step == "release":
        return _release(places, promotion, result, config)
    if step == "register":
        return _register(places, promotion, result)
    if step == "challenger":
        challenge(places, promotion)
    elif step == "replay":
        return promotion.model_copy(update={"replay": _replay(places, version_of(places, promotion))})
    elif step == "champion":
        move_champion(places, promotion)
    return promotion


def _release(
    places: PromotionPlaces,
    promotion: Promotion,
    result: RunResult,
    config: Mapping[str, JsonValue] | None,
) -> Promotion:
    request = ReleaseRequest(
        result=result,
        store=places.store,
        signing_keys=places.signing_keys,
        variant=promotion.variant,
        forced_because=promotion.forced_because,
        config=dict(config) if config else None,
    )
    release = make_release(request)
    return promotion.model_copy(
        update={"release_directory": release.directory, "release_digest": release.digest}
    )


def _register(places: PromotionPlaces, promotion: Promotion, result: RunResult) -> Promotion:
    assert promotion.release_directory is not None
    run_id = check_run(places.tracking_uri, result.mlflow_run_id, run_name=result.run_name)
    release = open_release(Path(promotion.release_directory), trust=places.trust)
    variant = chosen(result, promotion.variant)
    made = register(
        places.tracking_uri,
        name=promotion.model,
        release=Path(release.directory),
        run_id=run_id,
        tags=version_tags(promotion, result, variant, release=release),
        description=describe_version(promotion, result, variant),
    )
    return promotion.model_copy(update={"version": made.version})


def _replay(places: PromotionPlaces, version: RegisteredVersion) -> IntegrityReport:
    """Fetch what was registered and replay its golden inputs as a user would run it."""
    release = download(
        places.tracking_uri, version, folder=Path(places.releases), fresh=True, trust=places.trust
    )
    request = VerifyRequest(directory=str(release / ARTIFACT), expected_digest=version.bundle_digest)
    return run_isolated(
        "pt_core.inference.replay:replay", request, reply=IntegrityReport, timeout_s=REPLAY_TIMEOUT_S
    )


def _promotable(result: RunResult, name: str | None, forced_because: str | None) -> VariantResult:
    """Return the variant, unless nothing allows to promote it."""
    if name is None and result.winner is None:
        raise GateRefused(f"{result.run_name}: there is nothing to promote, {result.winner_reason}")
    variant = chosen(result, name)
    if variant.promotable or forced_because:
        return variant
    why = variant.reason or variant.problem or variant.state
    raise GateRefused(
        f"{result.run_name}: {variant.name} is not promotable, its verdict is {variant.standing}: {why}; "
        "--force --reason TEXT promotes it all the same, and stamps the reason on it"
    )


def _note(folder: Path, on_step: OnStep | None, promotion: Promotion, **update: object) -> Promotion:
    promotion = journal.write(folder, promotion.model_copy(update=update))
    if on_step:
        on_step(promotion)
    return promotion


def refuse(places: PromotionPlaces, promotion: Promotion, *, why: str) -> Promotion:
    """Take a promotion back because a person said no, or nothing in time; one that has ended stays as it ended.

    Raises:
        ConfigError: it is about another MLflow.
    """
    with journal.alive(Path(places.journal), promotion.id):
        now = as_it_is_now(places, promotion)
        return now if now.has_ended else settle(places, now, state="refused", why=why)
