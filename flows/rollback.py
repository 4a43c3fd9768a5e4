"""Rollback as a Prefect flow: the same as on the command line, started from the pages."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows.home import activate
from flows.notices import tell_promoted
from flows.promotable import model_to_move, places_of
from flows.servers import check_servers
from tasks.promotion import Promotion
from tasks.rollback import rollback as roll


@flow(name="rollback")
def rollback(model: str | None = None, to: str | None = None) -> Promotion:
    """Point the alias champion at the version before it, if its files and their signature still verify.

    Args:
        model: Name of the registered model; that of the latest run if left out.
        to: The version to go to; the one before if left out.

    Raises:
        ConfigError: there is nothing to go back to.
        IntegrityError: that version does not verify any more.
        PromotionConflict: another version became champion meanwhile.
    """
    home = activate(None)
    check_servers(home)
    name = model_to_move(home, model)
    log = get_run_logger()
    done = roll(
        places_of(home),
        identity=str(flow_run.id),
        model=name,
        to=to,
        on_step=lambda p: log.info("%s: %s", p.uri, p.state),
    )
    tell_promoted(done)
    log.info("%s", done.note or f"{done.uri} is champion, in the place of version {done.expected}")
    return done
