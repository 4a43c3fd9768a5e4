from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pt_core.artifacts.checkpoint_files import verify_checkpoint

SAVER = Path(__file__).parent / "saver.py"


def check_kills(folder: Path, *, num_kills: int, seed: int) -> None:
    store, journal = folder / "store", folder / "announced"
    command = [sys.executable, str(SAVER), str(store), str(journal), str(num_kills), str(seed)]
    counts = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

    assert counts["num_left"] >= num_kills // 4, "too few kills hit a save, so this would show nothing"
    assert counts["num_swept"] == counts["num_left"]
    assert not list(store.glob(".*"))
    assert not list(store.glob("*damaged*"))

    names = {str(path) for path in store.iterdir()}
    announced = set(journal.read_text().split())
    assert len(announced) >= num_kills // 2
    assert announced <= names, "a checkpoint that was announced as saved is gone"
    for name in names:
        verify_checkpoint(Path(name))


def test_twenty_kills_during_saves_lose_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, num_kills=20, seed=0)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_two_hundred_kills_during_saves_lose_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, num_kills=200, seed=1)
