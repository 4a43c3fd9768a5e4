"""A promotion that is killed leaves a champion that verifies, and the next command completes it or takes it back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROMOTER = Path(__file__).parent / "promoter.py"


def kills(home: Path, what: str, kind: str, *points: int) -> list[dict[str, Any]]:
    path = os.pathsep.join(map(str, (Path(__file__).parents[1] / "support", Path(__file__).parents[2])))
    command = [sys.executable, str(PROMOTER), str(home), what, kind]
    if points:
        command.append(",".join(map(str, points)))
    environment = {**os.environ, "PYTHONPATH": path, "PT_PIPELINE_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def check(found: list[dict[str, Any]]) -> None:
    for kill in found:
        before, after, settled = kill["before"], kill["after"], kill["settled"]
        # Both were fetched afresh and verified; nothing but what was or what was to be is champion.
        moved = after["champion"] != before["champion"]
        assert settled["champion"] == after["champion"] is not None, kill
        assert settled["challenger"] is None, kill
        assert settled["claims"] == 0, kill
        if moved and kill["what"] == "rollback":
            assert settled["rolled_back_to"][before["champion"]] == after["champion"], kill
        if settled["journal"] is not None:
            assert settled["journal"] == ("champion" if moved else "undone"), kill
        if after["journal"] == "open":
            assert "its process ended before it did" in settled["note"], kill


def test_killed_promotions_leave_a_champion_that_verifies(tmp_path: Path) -> None:
    # While the challenger is replayed; then around the one write that moves the alias.
    found = [*kills(tmp_path, "promote", "line", 7, 12)]
    assert [kill["signal"] for kill in found] == [9, 9]
    assert [kill["settled"]["journal"] for kill in found] == ["undone", "champion"]
    check(found)


def test_a_rollback_killed_right_after_it_moved_the_alias_is_told_of_on_the_version(tmp_path: Path) -> None:
    found = kills(tmp_path, "rollback", "write", 3)
    assert [(kill["signal"], kill["settled"]["journal"]) for kill in found] == [(9, "champion")]
    assert found[0]["after"]["rolled_back_to"] == {}
    check(found)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", ["promote", "rollback"])
@pytest.mark.parametrize(("kind", "at_least"), [("line", 1), ("write", 8)])
def test_a_kill_at_every_point_leaves_a_champion_that_verifies(
    tmp_path: Path, what: str, kind: str, at_least: int
) -> None:
    found = kills(tmp_path, what, kind)
    killed, survived = found[:-1], found[-1]
    assert len(killed) >= at_least
    assert {kill["signal"] for kill in killed} == {9}
    assert (survived["signal"], survived["said"]) == (0, "champion")
    check(found)
