"""Kills promotions at every line of their journal or at every write to MLflow; prints what each left, as JSON.

A program of its own, so that the promoters can be forked from a process that has imported everything but opened no database.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - imported once, before the forks
from mlflow import MlflowClient
from promotable import another_run, make_promotable, places_in

from pt_core.decision.result import RunResult
from tasks import journal, registering, registry
from tasks.promote import begin, proceed
from tasks.promotion import Promotion, PromotionPlaces
from tasks.recover import recover
from tasks.rollback import rollback

MODEL = "digits"
WRITES = (
    "log_artifacts",
    "create_registered_model",
    "create_model_version",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_model_version_tag",
    "set_registered_model_tag",
    "delete_registered_model_tag",
)
MAX_POINTS = 60


def forked(work: Callable[[], object]) -> tuple[int, Any]:
    """Run something in a child process; return the signal that ended it and what it returned."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write_end, json.dumps(work()).encode())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status), json.loads(said) if said else None


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_line(number: int) -> Callable[[Promotion], None]:
    """Return a listener that ends this process at one line of the journal."""
    seen = iter(range(number))

    def listen(_: Promotion) -> None:
        if next(seen, None) is None:
            die()

    return listen


def kill_at_write(number: int) -> None:
    """End this process before or after one of the writes to MLflow: even numbers before, odd ones after."""
    left = iter(range(number))

    def wrapped(write: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(left, None) is None:
                die()
            done = write(*arguments, **options)
            if next(left, None) is None:
                die()
            return done

        return call

    for name in WRITES:
        setattr(MlflowClient, name, wrapped(getattr(MlflowClient, name)))


def promote(places: PromotionPlaces, result: RunResult, name: str, kind: str, number: int) -> str:
    """Promote, to be killed at a point; what returns was not."""
    run = another_run(result, name)
    begun = begin(places, run, identity=name, model=MODEL)
    if kind == "write":
        kill_at_write(number)
    listen = kill_at_line(number) if kind == "line" else None
    return proceed(places, begun, run, on_step=listen).state


def roll(places: PromotionPlaces, name: str, kind: str, number: int) -> str:
    """Roll back, to be killed at a point."""
    if kind == "write":
        kill_at_write(number)
    listen = kill_at_line(number) if kind == "line" else None
    champion = registry.find_alias(places.tracking_uri, name=MODEL, alias="champion")
    versions = registry.list_versions(places.tracking_uri, name=MODEL)
    other = next(
        one
        for one in versions
        if one.tags["promotion_state"] == "champion" and champion and one.version != champion.version
    )
    return rollback(places, identity=name, model=MODEL, to=other.version, on_step=listen).state


def look(places: PromotionPlaces, name: str) -> dict[str, object]:
    """Return what there is: the champion if it verifies, the challenger, claims, the journal."""
    champion = registry.find_alias(places.tracking_uri, name=MODEL, alias="champion")
    challenger = registry.find_alias(places.tracking_uri, name=MODEL, alias="challenger")
    if champion:
        registry.download(
            places.tracking_uri, champion, folder=Path(places.releases), fresh=True, trust=places.trust
        )
    written = journal.read(Path(places.journal), name)
    return {
        "champion": champion.version if champion else None,
        "champion_run": champion.run_name if champion else None,
        "challenger": challenger.version if challenger else None,
        "rolled_back_to": {
            one.version: one.tags[registering.ROLLED_BACK_TO]
            for one in registry.list_versions(places.tracking_uri, name=MODEL)
            if registering.ROLLED_BACK_TO in one.tags
        },
        "claims": len(registering.claims(places.tracking_uri, MODEL)) if champion else 0,
        "journal": written.state if written else None,
        "at": written.at_work_on if written else None,
        "note": written.note if written else "",
    }


def settle_and_look(places: PromotionPlaces, name: str) -> dict[str, object]:
    recover(places)
    return look(places, name)


def main() -> None:
    home, what, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    points = [int(number) for number in sys.argv[4].split(",")] if len(sys.argv) > 4 else range(MAX_POINTS)
    places = places_in(home)
    _, made = forked(lambda: make_promotable(home).model_dump(mode="json"))
    result = RunResult.model_validate(made)
    for name in ("first", "second") if what == "rollback" else ("first",):
        assert forked(lambda name=name: promote(places, result, name, "none", 0))[1] == "champion"
    found = []
    for number in points:
        name = f"{kind}-{number}"
        before = forked(lambda name=name: look(places, name))[1]
        if what == "rollback":
            ended, said = forked(lambda name=name, number=number: roll(places, name, kind, number))
        else:
            ended, said = forked(lambda name=name, number=number: promote(places, result, name, kind, number))
        after = forked(lambda name=name: look(places, name))[1]
        settled = forked(lambda name=name: settle_and_look(places, name))[1]
        found.append(
            {
                "what": what,
                "point": number,
                "signal": ended,
                "said": said,
                "before": before,
                "after": after,
                "settled": settled,
            }
        )
        if ended == 0:
            break
    print(json.dumps(found))


if __name__ == "__main__":
    main()
