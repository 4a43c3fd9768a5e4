"""Promotion as a Prefect flow: what can be asked of a person is asked in its pages, and its steps are seen there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from pydantic import Field

from flows.approval import Approval, ask, check_can_ask
from flows.ending import ending
from flows.home import Home, activate
from flows.notices import tell_promoted
from flows.promotable import config_of, lineage_config, places_of, run_to_promote
from flows.retrain_form import AS_CONFIGURED
from flows.servers import check_servers
from flows.store_lock import store_in_use
from pt_core.decision.result import RunResult
from pt_core.errors import GateRefused, PromotionConflict
from tasks import journal
from tasks.promote import begin, proceed, refuse
from tasks.promotion import Promotion, PromotionConfig, PromotionPlaces

ApprovalField = Annotated[
    Literal["as configured", "none", "prefect"], Field(json_schema_extra={"title": "Approval"})
]


@task(name="promote", task_run_name="promote {promotion.variant} as {promotion.model}", cache_policy=NO_CACHE)
def go_on(
    places: PromotionPlaces, promotion: Promotion, result: RunResult, approved_by: str | None = None
) -> Promotion:
    """Do the steps of a promotion that are left, until it ends or a person must agree."""
    log = get_run_logger()
    return proceed(
        places,
        promotion,
        result,
        config=lineage_config(result),
        approved_by=approved_by,
        on_step=lambda p: log.info("%s: %s", p.uri, p.at_work_on or f"done {', '.join(p.done)} ({p.state})"),
    )


@flow(name="promote", persist_result=True, result_serializer="json", validate_parameters=True)
def promote(
    run: str | None = None,
    variant: str | None = None,
    model: str | None = None,
    reason: str | None = None,
    approval: ApprovalField = AS_CONFIGURED,
) -> Promotion | State[Any]:
    """Promote a variant of a finished run.

    It fails with a sentence where the variant is not promotable, a person said no, another version became champion
    meanwhile, or a step failed.

    Args:
        run: name of the run; the latest if left out.
        variant: name of the variant; the run's winner if left out.
        model: name of the registered model; the one in the run's configuration if left out.
        reason: why to promote it although it is not promotable; it is stamped on the version.
        approval: none, or prefect to ask a person in these pages; as configured is what the run's configuration says.
    """
    said = None if approval == AS_CONFIGURED else approval
    return ending(lambda: _promoted(run, variant, model=model, reason=reason, approval=said))


def _promoted(
    run: str | None, variant: str | None, *, model: str | None, reason: str | None, approval: str | None
) -> Promotion:
    home = activate(None)
    check_servers(home)
    # A run that was suspended starts here again, and finds in the journal how far it was; so does one that is run again
    # after it failed, which begins anew.
    before = journal.attempts(home.promotions, str(flow_run.id))
    known = before[-1] if before and not before[-1].may_begin_anew else None
    with store_in_use(home):
        result = run_to_promote(home, before[-1].run_name if before else run)
    settings = config_of(result, model=model, approval=approval)
    identity = known.id if known else journal.next_attempt(home.promotions, str(flow_run.id))
    return promote_with_approval(
        home, result, settings, identity=identity, known=known, variant=variant, reason=reason
    )


def promote_with_approval(
    home: Home,
    result: RunResult,
    settings: PromotionConfig,
    *,
    identity: str,
    known: Promotion | None = None,
    variant: str | None = None,
    reason: str | None = None,
    may_suspend: bool = True,
) -> Promotion:
    """Promote inside a flow run, and stop for the answer of a person where the settings ask for one.

    Raises:
        GateRefused: the variant is not promotable, a person said no, or the promotion was taken back before.
        PromotionConflict: another version became champion meanwhile, or had before.
        PtCoreError: a step failed.
    """
    if settings.approval == "prefect":
        check_can_ask()
    with store_in_use(home):
        promotion = _begun(home, result, settings, identity, known, variant, reason)
    if promotion.state != "waiting":
        return _succeeded(promotion)
    # Nobody has to wait for a person: what is in promotion is not removed.
    answer = ask(promotion, result, may_suspend=may_suspend)
    with store_in_use(home):
        return _answered(home, result, promotion, answer)


def _begun(
    home: Home,
    result: RunResult,
    settings: PromotionConfig,
    identity: str,
    known: Promotion | None,
    variant: str | None,
    reason: str | None,
) -> Promotion:
    places = places_of(home)
    promotion = known or begin(
        places,
        result,
        identity=identity,
        model=settings.name_for(result.pipeline),
        variant=variant,
        forced_because=reason,
        needs_approval=settings.approval == "prefect",
        approval_timeout_s=settings.approval_timeout_s,
    )
    return go_on(places, promotion, result) if promotion.state == "open" else promotion


def _answered(home: Home, result: RunResult, promotion: Promotion, answer: Approval | None) -> Promotion:
    places = places_of(home)
    if answer is not None and answer.approve:
        return _succeeded(go_on(places, promotion, result, approved_by=answer.said))
    why = f"{answer.said} did not approve" if answer else "nobody answered in time"
    ended = refuse(places, promotion, why=why)
    if ended.state == "champion":
        return ended
    raise GateRefused(f"{promotion.uri}: {why}; champion was not moved")


def _succeeded(promotion: Promotion) -> Promotion:
    """Return a promotion that moved the alias; a flow run that starts again may find that it ended otherwise.

    Raises:
        PromotionConflict: another version came first.
        GateRefused: it was refused or taken back.
    """
    if promotion.state == "champion":
        tell_promoted(promotion)
        return promotion
    error = PromotionConflict if promotion.state == "lost" else GateRefused
    raise error(f"{promotion.uri}: this promotion ended before, {promotion.state}: {promotion.note}")
