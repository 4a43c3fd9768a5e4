"""A training that is killed with SIGKILL again and again ends with the bits of one that was left alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TRAINER = Path(__file__).parent / "trainer.py"


def check_kills(folder: Path, name: str, *, num_kills: int, seed: int) -> None:
    command = [sys.executable, str(TRAINER), str(folder), name, str(num_kills), str(seed)]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert found["num_hit"] >= num_kills * 2 // 3, (
        "too few kills hit the training, so this would show nothing"
    )
    assert found["killed"] == found["whole"]
    assert any("went on after step" in remark for remark in found["remarks"])
    assert found["left"] == []
    assert (found["num_skipped"] > 0) == (name == "everything"), "the scaler had nothing to remember"


def test_a_killed_training_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    check_kills(tmp_path, "everything", num_kills=3, seed=0)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["everything", "plain"])
def test_twenty_kills_at_random_points_change_no_bit(tmp_path: Path, name: str) -> None:
    check_kills(tmp_path, name, num_kills=20, seed=1)
