"""A run's part in promotion: it finishes what a dead promoter left, and may promote its own winner at the end."""

from __future__ import annotations

from prefect.runtime import flow_run

from flows.home import Home
from flows.promotable import places_of
from flows.promote import promote_with_approval
from pt_core.decision.result import RunResult
from tasks import journal
from tasks.promotion import PromotionConfig
from tasks.recover import recover
from tasks.report import store


def finish_promotions(home: Home) -> None:
    """Complete or take back, with a warning, every promotion of this home whose process is gone."""
    recover(places_of(home))


def promote_winner(result: RunResult, settings: PromotionConfig, home: Home) -> RunResult:
    """Promote the winner of a run that passed, if the configuration says so; return the result that tells.

    Raises:
        GateRefused: a person said no.
        PtCoreError: a step failed, or another version became champion meanwhile; the run's result is kept.
    """
    if not settings.after_run or result.winner is None:
        return result
    # A run that is suspended would start from the top, train tracking and all: this one waits instead.
    # A flow run that is run again has a winner of its own, whatever became of the one before.
    identity = journal.next_attempt(home.promotions, str(flow_run.id))
    done = promote_with_approval(home, result, settings, identity=identity, may_suspend=False)
    result = result.model_copy(update={"promoted": done.uri})
    store(result, str(home.runs / result.run_name))
    return result
