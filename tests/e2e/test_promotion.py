"""A run promotes its own winner, and the commands that follow see what it did."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

MODEL = "self-promoted"
# As the default job, whose training, conversion and evaluation are in the cache, but for the timing.
CHANGES = (
    f"promotion={{model_name: {MODEL}, after_run: true}}",
    "variants=[{name: torch, steps: []}, {name: onnx, steps: [onnx]}]",
    "efficiency={max_seconds: 4, rounds: 10, extra_rounds: 0, cold_starts: false}",
    "gate.rules=[{metric: accuracy/accuracy, max_drop: 0.05}]",
)


def test_a_run_promotes_its_winner_and_the_first_champion_cannot_be_rolled_back(
    first: Any, workplace: Any
) -> None:
    assert first.code == 0, first.stderr
    done = workplace.run(*(part for change in CHANGES for part in ("--set", change)))
    assert done.code == 0, done.stderr
    assert done.document["promoted"] == f"models:/{MODEL}/1"
    listed = workplace.call("versions", MODEL, "--json").document
    assert [one["aliases"] for one in listed["versions"]] == [["champion"]]
    assert listed["versions"][0]["run_name"] == done.document["run_name"]
    assert listed["not_ended"] == []
    back = workplace.call("rollback", MODEL, "--json")
    assert back.code == 2
    assert "is the first champion" in back.document["error"]["message"]


def test_the_rollback_command_does_its_own_work_in_five_seconds(first: Any, workplace: Any) -> None:
    model = "rolled-back"
    for reason in (None, "another"):
        forced = ("torch", "--force", "--reason", reason) if reason else ()
        done = workplace.call("promote", first.document["run_name"], *forced, "--model", model, "--json")
        assert done.code == 0, done.stderr
    started = time.monotonic()
    back = workplace.call("rollback", model, "--json")
    wall_s = time.monotonic() - started
    assert back.code == 0, back.stderr
    assert back.document["uri"] == f"models:/{model}/1"
    print(f"rollback: {wall_s:.1f} s for the command, {back.document['seconds']} s without imports")
    # By the clock: fetching, checking every byte and the signature, and moving the alias, on a machine that is busy.
    assert back.document["seconds"] < 5
