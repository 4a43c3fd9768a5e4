"""Lets two processes, each with a home of its own, promote into one MLflow at the same moment; prints how each ended, as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path

import mlflow.store.model_registry.rest_store
import mlflow.store.model_registry.sqlalchemy_store  # noqa: F401 - imported once, before the forks
from promotable import MODEL, another_run, make_promotable, places_in

from pt_core.decision.result import RunResult
from pt_core.errors import PtCoreError
from tasks.promote import begin, proceed
from tasks.promotion import Promotion

NAMES = ("one", "two")
PATIENCE_S = 60


def meet(folder: Path, name: str, what: str) -> None:
    """Wait until the other process is here too."""
    (folder / f"{what}-{name}").touch()
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if all((folder / f"{what}-{other}").exists() for other in NAMES):
            return
        time.sleep(0.002)
    ended = [one.read_text() for one in folder.glob("ended-*")]
    raise TimeoutError(f"{name} waited at {what} in vain; what ended: {ended or 'nothing'}")


def contend(folder: Path, uri: str, name: str, result: RunResult) -> dict[str, object]:
    places = places_in(folder / name, uri)
    run = another_run(result, name)

    def listen(now: Promotion) -> None:
        # Where each writes what the other writes too.
        if now.at_work_on in ("register", "challenger", "champion"):
            meet(folder, name, now.at_work_on)

    begun = begin(places, run, identity=name, model=MODEL)
    meet(folder, name, "begin")
    try:
        done = proceed(places, begun, run, on_step=listen)
    except PtCoreError as error:
        return {"name": name, "error": type(error).__name__, "said": error.message}
    return {"name": name, "state": done.state, "version": done.version}


def main() -> None:
    folder, uri = Path(sys.argv[1]), sys.argv[2]
    made = folder / "made.json"
    for name in ("made", *NAMES):
        child = os.fork()
        if child == 0:
            try:
                if name == "made":
                    made.write_text(make_promotable(folder / "shared", uri).model_dump_json())
                else:
                    result = RunResult.from_json(made.read_bytes())
                    (folder / f"ended-{name}").write_text(json.dumps(contend(folder, uri, name, result)))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if name == "made":
            assert os.waitpid(child, 0)[1] == 0
    for _ in NAMES:
        assert os.wait()[1] == 0
    print(json.dumps([json.loads((folder / f"ended-{name}").read_text()) for name in NAMES]))


if __name__ == "__main__":
    main()
