"""Rollback as a Prefect flow: the same as on the command line, started from the pages."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows.ending import ending
from flows.home import activate
from flows.notices import tell_promoted
from flows.promotable import model_to_move, places_of
from flows.servers import check_servers
from flows.store_lock import store_in_use
from tasks.promotion import Promotion
from tasks.rollback import rollback as roll


@flow(name="rollback")
def rollback(model: str | None = None, to: str | None = None) -> Promotion | State[Any]:
    """Point the alias champion at the version before it, if its files and their signature still verify.

    It fails with a sentence where there is nothing to go back to, where that version does not verify any more, or where
    another version became champion meanwhile.

    Args:
        model: Name of the registered model; that of the latest run if left out.
        to: The version to go to; the one before if left out.
    """
    return ending(lambda: _rolled_back(model, to))


def _rolled_back(model: str | None, to: str | None) -> Promotion:
    home = activate(None)
    log = get_run_logger()
    check_servers(home)
    with store_in_use(home):
        done = roll(
            places_of(home),
            identity=str(flow_run.id),
            model=model_to_move(home, model),
            to=to,
            on_step=lambda p: log.info("%s: %s", p.uri, p.state),
        )
    tell_promoted(done)
    log.info("%s", done.note or f"{done.uri} is champion, in the place of version {done.expected}")
    return done
