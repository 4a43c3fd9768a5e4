"""The receiver as a process: journal first, one run a delivery, through failures of Prefect and a kill of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from receiving import (
    PROVIDERS_CONFIG,
    SECRET,
    FakePrefect,
    commit,
    deliveries,
    fake_prefect,
    github_headers,
    github_push,
    post,
    push,
    receiving,
    silent_server,
    wait_for,
)

DEPLOYMENT = "retrain/retrain-on-push"


@pytest.fixture
def prefect() -> Iterator[FakePrefect]:
    with fake_prefect() as server:
        yield server


def states(home: Path) -> dict[str, str]:
    """Return what became of each delivery; a replay's id without its random part."""
    return {plain(str(row["id"])): str(row["state"]) for row in deliveries(home)}


def plain(identity: str) -> str:
    return re.sub(r"(\.replay\d+)-[0-9a-f]{6}$", r"\1", identity)


def cli(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deployments", "deliveries", *arguments, "--home", str(home)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_push_is_one_run_at_its_commit_however_often_it_is_sent(
    tmp_path: Path, prefect: FakePrefect
) -> None:
    with receiving(tmp_path, PROVIDERS_CONFIG, prefect_url=prefect.url) as (port, _):
        payload = github_push(sha=commit(7))
        assert push(port, payload, delivery="d-1")[0] == 202
        for delivery in ("d-1", "under-another-id"):
            status, said = push(port, payload, delivery=delivery)
            assert (status, said["result"], said["delivery"]) == (200, "already", "d-1")
        status, said = push(port, github_push("team/models", paths=("docs/a.md",)))
        assert (status, said["result"]) == (200, "ignored")
        assert "delivery" not in said, "it is not in the journal"
        wait_for(lambda: states(tmp_path) == {"d-1": "started"})
        body = json.dumps(payload).encode()
        assert post(port, "/hooks/team/models", body, github_headers(body))[1]["result"] == "ignored"
    key = f"{DEPLOYMENT}:team/any:d-1"
    assert list(prefect.runs) == [key]
    run = prefect.runs[key]
    assert run["job_variables"]["env"] == {
        "PT_PIPELINE_PUSH_REPOSITORY": "https://git.example/team/any.git",
        "PT_PIPELINE_PUSH_COMMIT": commit(7),
    }
    assert run["parameters"] == {"config": "pipeline.yaml"}
    assert set(run["tags"]) == {f"commit:{commit(7)[:12]}", "branch:main", "repository:team/any"}
    assert SECRET not in (tmp_path / "receiver.log").read_text()


def test_a_failing_prefect_is_asked_again_with_the_same_key_and_a_lost_answer_makes_no_second_run(
    tmp_path: Path, prefect: FakePrefect
) -> None:
    prefect.failures = [503, 599]
    with receiving(tmp_path, PROVIDERS_CONFIG, prefect_url=prefect.url) as (port, _):
        push(port, github_push(), delivery="d-1")
        wait_for(lambda: states(tmp_path) == {"d-1": "started"})
    assert prefect.keys_seen == [f"{DEPLOYMENT}:team/any:d-1"] * 3
    assert len(prefect.runs) == 1
    assert deliveries(tmp_path)[0]["attempts"] == 3


def test_what_prefect_refuses_is_kept_as_a_dead_letter_and_a_person_replays_it(
    tmp_path: Path, prefect: FakePrefect
) -> None:
    prefect.failures = [409]
    with receiving(tmp_path, PROVIDERS_CONFIG, prefect_url=prefect.url) as (port, _):
        push(port, github_push(), delivery="dead-1")
        wait_for(lambda: states(tmp_path) == {"dead-1": "dead"})
        assert "dead" in cli(tmp_path).stdout
        shown = json.loads(cli(tmp_path, "show", "dead-1", "--json").stdout)
        assert "Prefect answered 409" in shown["reason"]
        assert cli(tmp_path, "replay", "dead-").returncode == 0
        wait_for(lambda: states(tmp_path) == {"dead-1": "dead", "dead-1.replay1": "started"})
    assert [plain(key) for key in prefect.runs] == [f"{DEPLOYMENT}:team/any:dead-1.replay1"]
    assert f"{DEPLOYMENT}:team/any:dead-1.replay1" not in prefect.runs, "a key of its own in each journal"
    unknown = cli(tmp_path, "show", "nothing")
    assert unknown.returncode == 2
    assert "no such delivery" in unknown.stderr


def test_a_kill_between_acceptance_and_start_loses_nothing_and_starts_nothing_twice(
    tmp_path: Path, prefect: FakePrefect
) -> None:
    with (
        silent_server() as silent,
        receiving(tmp_path, PROVIDERS_CONFIG, prefect_url=silent) as (port, process),
    ):
        assert push(port, github_push(sha=commit(1)), delivery="d-1")[0] == 202
        assert push(port, github_push("team/models", sha=commit(2)), delivery="d-2")[0] == 202
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert states(tmp_path) == {"d-1": "accepted", "d-2": "accepted"}
    # The answer to the first start is lost as well: 599 makes the run and says 503.
    prefect.failures = [599]
    with receiving(tmp_path, PROVIDERS_CONFIG, prefect_url=prefect.url) as (port, _):
        assert push(port, github_push(sha=commit(1)), delivery="d-1")[1]["result"] == "already"
        wait_for(lambda: set(states(tmp_path).values()) == {"started"})
    assert sorted(prefect.runs) == [f"{DEPLOYMENT}:team/any:d-1", f"{DEPLOYMENT}:team/models:d-2"]


def test_a_burst_comes_down_to_its_newest_commit_and_what_runs_goes_on(
    tmp_path: Path, prefect: FakePrefect
) -> None:
    with receiving(tmp_path, PROVIDERS_CONFIG, prefect_url=prefect.url) as (port, _):
        for number in (1, 2):
            push(port, github_push(sha=commit(number)), delivery=f"d-{number}")
            wait_for(lambda number=number: states(tmp_path).get(f"d-{number}") == "started")
        of = {key.rpartition(":")[2]: run for key, run in prefect.runs.items()}
        assert of["d-1"]["state"]["name"] == "Cancelled"
        of["d-2"]["state"].update(name="Running", type="RUNNING")
        push(port, github_push("team/models", sha=commit(9)), delivery="other")
        prefect.failures = [503]  # so that 3 still waits when 4 and 5 come
        for number in (3, 4, 5):
            push(port, github_push(sha=commit(number)), delivery=f"d-{number}")
        wait_for(lambda: states(tmp_path)["d-5"] == "started")
        wait_for(lambda: states(tmp_path)["other"] == "started")
    of = {key.rpartition(":")[2]: run for key, run in prefect.runs.items()}
    found = states(tmp_path)
    assert found["d-1"] == "cancelled"
    assert found["d-2"] == "started"
    assert {found["d-3"], found["d-4"]} <= {"superseded", "cancelled"}
    alive = {name for name, run in of.items() if run["state"]["name"] != "Cancelled"}
    assert alive == {"d-2", "d-5", "other"}
    message = of["d-1"]["state"]["message"]
    assert commit(2)[:12] in message
    assert of["d-2"]["name"] in message
    reasons = {row["id"]: str(row["reason"]) for row in deliveries(tmp_path)}
    assert commit(2)[:12] in reasons["d-1"]


def test_an_older_commit_that_comes_late_starts_and_cancels_nothing_but_a_branch_set_back_counts(
    tmp_path: Path, prefect: FakePrefect
) -> None:
    def sent(number: int, before: int, name: str, **more: object) -> str:
        answered = push(port, github_push(sha=commit(number), before=commit(before), **more), delivery=name)[
            1
        ]
        return str(answered["result"])

    with receiving(tmp_path, PROVIDERS_CONFIG, prefect_url=prefect.url) as (port, _):
        assert sent(3, 2, "newest") == "accepted"
        wait_for(lambda: states(tmp_path)["newest"] == "started")
        assert [sent(2, 1, "late"), sent(1, 0, "later")] == ["ignored", "ignored"]
        assert states(tmp_path) == {"newest": "started", "late": "superseded", "later": "superseded"}
        assert commit(3)[:12] in str(deliveries(tmp_path)[1]["reason"])
        # The branch is set back to a commit, from the newest and then from one that was never heard of.
        assert sent(2, 3, "back") == "accepted"
        assert sent(1, 9, "forced", forced=True) == "accepted"
        wait_for(lambda: states(tmp_path)["forced"] == "started")
    of = {key.rpartition(":")[2]: run["state"]["type"] for key, run in prefect.runs.items()}
    assert not {"late", "later"} & set(of)
    assert of["newest"] == "CANCELLED"


def test_a_replay_of_an_old_commit_cancels_nothing(tmp_path: Path, prefect: FakePrefect) -> None:
    with receiving(tmp_path, PROVIDERS_CONFIG, prefect_url=prefect.url) as (port, _):
        for number in (1, 2):
            push(port, github_push(sha=commit(number)), delivery=f"d-{number}")
            wait_for(lambda number=number: states(tmp_path).get(f"d-{number}") == "started")
        assert cli(tmp_path, "replay", "d-1").returncode == 0
        wait_for(lambda: states(tmp_path).get("d-1.replay1") == "started")
    assert states(tmp_path) == {"d-1": "cancelled", "d-2": "started", "d-1.replay1": "started"}


def test_answers_stay_quick_while_prefect_never_answers(tmp_path: Path) -> None:
    def timed(number: int) -> tuple[int, float]:
        begin = time.monotonic()
        status, _ = push(port, github_push(sha=commit(number)), delivery=f"d-{number}")
        return status, time.monotonic() - begin

    with (
        silent_server() as silent,
        receiving(tmp_path, PROVIDERS_CONFIG, prefect_url=silent) as (port, process),
    ):
        with ThreadPoolExecutor(8) as senders:
            answered = list(senders.map(timed, range(1, 301)))
        begin = time.monotonic()
        process.terminate()
        process.wait(timeout=10)
        stopped_s = time.monotonic() - begin
    assert {status for status, _ in answered} == {202}
    seconds = sorted(taken for _, taken in answered)
    print(f"300 answers: p50 {seconds[150]:.3f} s, p99 {seconds[297]:.3f} s; stopped in {stopped_s:.1f} s")
    assert seconds[297] < 1
    assert stopped_s < 5, "a call that hangs must not hold up the end"
    assert list(states(tmp_path).values()).count("accepted") == 1, "the newest commit of the branch"


def test_a_taken_port_and_a_missing_server_are_one_line(tmp_path: Path, prefect: FakePrefect) -> None:
    with receiving(tmp_path, PROVIDERS_CONFIG, prefect_url=prefect.url) as (port, _):
        options = ["--home", str(tmp_path / "other"), "--secret-file", str(tmp_path / "secret")]
        command = [sys.executable, "-m", "deployments", "webhook", *options, "--port", str(port)]
        taken = subprocess.run(
            command,
            env={**os.environ, "PREFECT_API_URL": prefect.url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert taken.returncode == 2
    errors = [line for line in taken.stderr.splitlines() if "ConfigError" in line]
    assert len(errors) == 1
    assert f"127.0.0.1:{port}" in errors[0]
    without = subprocess.run(command, capture_output=True, text=True, check=False)
    assert without.returncode == 2
    assert "set PREFECT_API_URL" in without.stderr
