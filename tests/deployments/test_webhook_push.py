"""From a push to a verdict: a repository served over Git, two commits, and each run at its own."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from receiving import deliveries, github_push, push, receiving, wait_for
from servers import free_port, stop_group
from stacks import RealStack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
PIPELINE = """\
name: NAME
train: {epochs: EPOCHS}
variants:
  - {name: torch, steps: []}
evaluation: {fgsm_epsilons: [], noise_sigmas: []}
efficiency: {max_seconds: 1, rounds: 5, extra_rounds: 0, cold_starts: false, sweep_batch_sizes: [1]}
gate: smoke
"""
NEVER = Path("/tmp/never")
TOLD = f"$(touch {NEVER}) {{{{ 7*7 }}}}"
"""What the pusher is called and writes of a commit, in Git and in the request."""


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", f"user.name={TOLD}", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A bare repository at a git:// address, and a checkout that pushes to it."""
    shared, work, port = tmp_path / "shared", tmp_path / "work", free_port()
    shared.mkdir()
    git(shared, "init", "-q", "--bare", "-b", "main", "models.git")
    git(tmp_path, "clone", "-q", str(shared / "models.git"), str(work))
    options = ["--reuseaddr", "--export-all", f"--base-path={shared}", "--listen=127.0.0.1", f"--port={port}"]
    daemon = subprocess.Popen(["git", "daemon", *options, str(shared)], start_new_session=True)
    try:
        yield f"git://127.0.0.1:{port}/models.git", work
    finally:
        stop_group(daemon)
        daemon.wait()


def pushed(work: Path, name: str, epochs: int) -> str:
    """Commit a pipeline of this name, push it, and return the commit."""
    (work / "pipeline.yaml").write_text(PIPELINE.replace("NAME", name).replace("EPOCHS", str(epochs)))
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", f"{name} {TOLD}")
    git(work, "push", "-q", "origin", "HEAD:main")
    return git(work, "rev-parse", "HEAD")


def told_of(sha: str) -> dict[str, object]:
    """Return GitHub's push of a commit with all that its author wrote."""
    person = {"name": TOLD, "username": TOLD, "email": "t@example.org"}
    one = {"id": sha, "message": TOLD, "author": person, "committer": person}
    one |= {"added": ["pipeline.yaml"], "modified": [], "removed": []}
    return github_push(
        "team/models", sha=sha, commits=[one], head_commit=one, pusher=person, sender={"login": TOLD}
    )


def ask(url: str, document: object = None) -> Any:
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def flow_run(stack: RealStack, delivery: dict[str, Any]) -> dict[str, Any]:
    return ask(f"{stack.prefect_url}/api/flow_runs/{delivery['run_id']}")


def reaches(stack: RealStack, delivery: dict[str, Any], states: set[str]) -> None:
    wait_for(lambda: flow_run(stack, delivery)["state_type"] in states, seconds=240, what=" or ".join(states))


def test_each_pushed_commit_is_run_with_its_own_settings_and_recorded_everywhere(
    stack: RealStack, served: tuple[str, Path], tmp_path: Path
) -> None:
    url, work = served
    config = f"repositories:\n  - {{name: team/models, provider: github, clone_url: '{url}'}}\n"
    home = tmp_path / "receiver"
    with receiving(home, config, prefect_url=f"{stack.prefect_url}/api") as (port, _):
        first, first_run = sent(work, port, home, "push-one", epochs=3)
        reaches(stack, first_run, {"RUNNING", *ENDED})
        # The first one has the deployment's only slot, so the second waits until the third takes its place.
        _, second_run = sent(work, port, home, "push-two", epochs=9)
        third, third_run = sent(work, port, home, "push-three", epochs=4)
        made_way = flow_run(stack, second_run)
        assert made_way["state_type"] == "CANCELLED"
        assert third[:12] in made_way["state"]["message"]
        assert [row["state"] for row in deliveries(home)] == ["started", "cancelled", "started"]
        for name, sha, delivery in (("push-one", first, first_run), ("push-three", third, third_run)):
            reaches(stack, delivery, ENDED)
            recorded_everywhere(stack, flow_run(stack, delivery), name, sha)
        for delivery in (first_run, second_run, third_run):
            no_text_of_the_push_is_in(flow_run(stack, delivery))
    assert first != third
    assert not NEVER.exists()


def sent(work: Path, port: int, home: Path, name: str, *, epochs: int) -> tuple[str, dict[str, Any]]:
    """Push a commit, send its request, and return the commit with the delivery that has a run."""
    sha = pushed(work, name, epochs)
    assert push(port, told_of(sha), delivery=name)[0] == 202
    # Prefect's server may wait for its SQLite for a minute before it answers 503, and the receiver asks again.
    wait_for(lambda: deliveries(home)[-1]["state"] == "started", seconds=180, what="the run to be made")
    return sha, deliveries(home)[-1]


def no_text_of_the_push_is_in(run: dict[str, Any]) -> None:
    """Not in its name, tags, parameters and settings, nor in anything else that Prefect keeps of it."""
    text = json.dumps(run)
    assert run["name"] in text
    assert [part for part in (str(NEVER), "touch", "7*7") if part in text] == []


def recorded_everywhere(stack: RealStack, run: dict[str, Any], name: str, sha: str) -> None:
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert {f"commit:{sha[:12]}", "branch:main", "repository:team/models"} <= set(run["tags"])
    experiment = ask(f"{stack.mlflow_url}/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}")
    found = ask(
        f"{stack.mlflow_url}/api/2.0/mlflow/runs/search",
        {
            "experiment_ids": [experiment["experiment"]["experiment_id"]],
            "filter": f"tags.git_commit = '{sha}'",
        },
    )
    assert found["runs"]
    assert run["parameters"]["config"] == "pipeline.yaml"
    results = [json.loads(path.read_text()) for path in (stack.home / "runs").glob("*/run.json")]
    (result,) = [one for one in results if one["pipeline"] == name]
    assert sha in (Path(result["checkpoint"]["directory"]) / "manifest.json").read_text()
