"""Two promoters at once, each with a home of its own: one wins, and the other says that it did not."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from promotable import MODEL
from servers import free_port, served

from tasks import registering, registry

CONTEST = Path(__file__).parents[1] / "support" / "contest.py"


def contest(folder: Path, uri: str) -> None:
    path = os.pathsep.join(map(str, (CONTEST.parent, Path(__file__).parents[2])))
    done = subprocess.run(
        [sys.executable, str(CONTEST), str(folder), uri],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout)
    winners = [one for one in ended if one.get("state") == "champion"]
    losers = [one for one in ended if one.get("error") == "PromotionConflict"]
    assert (len(winners), len(losers)) == (1, 1), ended
    assert f"no version was expected, version {winners[0]['version']} found" in losers[0]["said"]
    assert "run the pipeline again" in losers[0]["said"]
    versions = registry.list_versions(uri, name=MODEL)
    assert {one.aliases for one in versions} == {("champion",), ()}
    assert {one.tags["promotion_state"] for one in versions} == {"champion", "lost"}
    champion = registry.find_alias(uri, name=MODEL, alias="champion")
    assert champion is not None
    assert (champion.version, champion.run_name) == (winners[0]["version"], winners[0]["name"])
    assert registering.claims(uri, MODEL) == {}


@pytest.mark.campaign
def test_one_of_two_promoters_wins_on_a_database(tmp_path: Path) -> None:
    contest(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.e2e
def test_one_of_two_promoters_wins_on_a_server(tmp_path: Path) -> None:
    port = free_port()
    command = (
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --host 127.0.0.1 --workers 1 "
        f"--port {port} --backend-store-uri {shlex.quote(f'sqlite:///{tmp_path}/mlflow.db')} "
        f"--artifacts-destination {shlex.quote(str(tmp_path / 'served'))}"
    )
    uri = f"http://127.0.0.1:{port}"
    with served(command, f"{uri}/health", tmp_path / "server.log"):
        contest(tmp_path, uri)
