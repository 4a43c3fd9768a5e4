"""pt-pipeline promote, rollback and versions: which version of a model is in use, and how that changes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from flows.cli.output import messages, print_json, results
from flows.home import Home, add_code_path
from flows.notices import tell_promoted
from flows.promotable import config_of, lineage_config, model_to_move, new_identity, places_of, run_to_promote
from flows.servers import check_servers
from flows.store_lock import store_in_use
from pt_core.decision.result import RunResult
from pt_core.errors import ConfigError, GateRefused
from tasks.promotion import OnStep, Promotion, PromotionConfig, PromotionStep
from tasks.registry import CHALLENGER, CHAMPION, RegisteredVersion, list_versions

_SAID: dict[PromotionStep, str] = {
    "release": "made the release",
    "register": "registered it",
    "challenger": f"set the alias {CHALLENGER}",
    "replay": "replayed its golden outputs from a fresh download in a clean process",
    "approval": "approved",
    "champion": f"moved the alias {CHAMPION}",
}


def promote(
    run: str | None,
    variant: str | None,
    home: Home,
    *,
    model: str | None,
    force: bool,
    reason: str | None,
    approval: str | None,
    as_json: bool,
) -> None:
    """Promote a variant of a finished run, and say what was done.

    Raises:
        GateRefused: it is not promotable, or a person said no.
        PromotionConflict: another version became champion meanwhile.
        PtCoreError: bad input, or a step failed.
    """
    if force != (reason is not None) or (force and not (reason or "").strip()):
        raise ConfigError(
            "--force and --reason TEXT belong together: what is forced is stamped with its reason"
        )
    check_servers(home)
    # A network's own code, which a user has beside the configuration, serves artifacts of format torch.
    add_code_path(Path.cwd())
    try:
        with store_in_use(home):
            result = run_to_promote(home, run)
            settings = config_of(result, model=model, approval=approval)
            asks = settings.approval == "prefect"
            done = None if asks else _promote(home, result, settings, variant, reason)
        if done is None:
            done = _ask_and_promote(result, settings, variant, reason)
        else:
            tell_promoted(done)
    except GateRefused as error:
        if as_json:
            print_json({"error": error.to_dict(), "exit_code": error.exit_code})
        raise
    _show(done, as_json=as_json)


def _promote(
    home: Home, result: RunResult, settings: PromotionConfig, variant: str | None, reason: str | None
) -> Promotion:
    from tasks.promote import begin, proceed

    model = settings.name_for(result.pipeline)
    promotion = begin(
        places_of(home),
        result,
        identity=new_identity(model),
        model=model,
        variant=variant,
        forced_because=reason,
    )
    if promotion.state == "champion":
        return promotion
    messages.print(f"[bold]{promotion.variant}[/] of {promotion.run_name} as {model}", highlight=False)
    return proceed(
        places_of(home), promotion, result, config=lineage_config(result), on_step=_tell_of(promotion)
    )


def _tell_of(promotion: Promotion) -> OnStep:
    told = set(promotion.done)

    def tell(now: Promotion) -> None:
        for step in now.done:
            if step not in told and (step != "approval" or now.needs_approval):
                messages.print(f"[green]✓[/] {_SAID[step]}  [dim]{now.uri}[/]", highlight=False)
            told.add(step)

    return tell


def _ask_and_promote(
    result: RunResult, settings: PromotionConfig, variant: str | None, reason: str | None
) -> Promotion:
    """Run the flow, which waits for a person in Prefect's pages."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    from flows.approval import check_can_ask
    from flows.promote import promote as flow

    check_can_ask()
    messages.print("waiting for a person to resume the flow run in Prefect's pages", highlight=False)
    done = flow(
        run=result.run_name,
        variant=variant,
        model=settings.model_name,
        reason=reason,
        approval=settings.approval,
    )
    assert isinstance(done, Promotion), done  # a failed state is raised
    return done


def rollback(home: Home, *, model: str | None, to: str | None, as_json: bool) -> None:
    """Point the alias champion at the version before, or at a given one.

    Raises:
        ConfigError: there is nothing to go back to.
        IntegrityError: that version does not verify any more.
        PromotionConflict: another version became champion meanwhile.
    """
    from tasks.rollback import rollback as roll

    check_servers(home)
    name = model_to_move(home, model)
    started = time.monotonic()
    # Not while a removal may put away what the alias is to point at.
    with store_in_use(home):
        done = roll(places_of(home), identity=new_identity(name), model=name, to=to)
    tell_promoted(done)
    _show(done, as_json=as_json, seconds=time.monotonic() - started)


def versions(home: Home, *, model: str | None, as_json: bool) -> None:
    """Print the registered versions of a model, and what is left of promotions that did not end."""
    from tasks import journal

    check_servers(home)
    name = model_to_move(home, model)
    found = list_versions(home.tracking_uri, name=name)
    waiting = [one for one in journal.read_all(home.promotions) if one.state in ("open", "waiting")]
    if as_json:
        print_json(
            {
                "model": name,
                "versions": [one.model_dump(mode="json") for one in found],
                "not_ended": [one.model_dump(mode="json") for one in waiting],
            }
        )
        return
    if not found:
        raise ConfigError(
            f"models:/{name}: nothing is registered; pt-pipeline promote registers a run's winner"
        )
    results.print(_table(name, found))
    for one in waiting:
        results.print(f"{one.kind} {one.id} of {one.uri}: {one.state}", highlight=False, markup=False)


def _table(name: str, found: tuple[RegisteredVersion, ...]) -> Table:
    table = Table(title=name, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("version", "alias", "variant", "verdict", "promotion", "artifact"):
        table.add_column(column, no_wrap=True)
    table.add_column("run", overflow="fold")
    for one in found:
        told = [one.tags.get("verdict", "-"), "forced" if "forced_because" in one.tags else ""]
        table.add_row(
            one.version,
            ", ".join(one.aliases),
            one.tags.get("variant", "-"),
            " ".join(filter(None, told)),
            one.tags.get("promotion_state", "-"),
            one.bundle_digest[:12],
            one.run_name or "-",
            style="bold" if CHAMPION in one.aliases else "",
        )
    return table


def _show(done: Promotion, *, as_json: bool, seconds: float | None = None) -> None:
    if as_json:
        took = {} if seconds is None else {"seconds": round(seconds, 3)}
        print_json({**done.model_dump(mode="json"), "uri": done.uri, **took, "exit_code": 0})
        return
    before = f", in the place of version {done.expected}" if done.expected and not done.note else ""
    sentence = done.note or f"{done.uri} is {CHAMPION}{before}"
    results.print(Panel(escape(sentence), border_style="green"))
