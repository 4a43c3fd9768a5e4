"""The lock on a model's aliases, on a real MLflow database: one holder at a time, and the dead hold nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pt_core.errors import PromotionConflict
from tasks import registering, registry
from tasks.alias_lock import Claimant, Held, alias_lock

MODEL = "guarded"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    address = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    with registry.asked(address) as client:
        client.create_registered_model(MODEL)
    return address


def claim(uri: str, **changes: object) -> None:
    registering.announce(uri, MODEL, "0" * 16, Claimant.this_process().model_copy(update=changes).to_json())


def test_one_of_many_holds_the_lock_at_a_time(uri: str, tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        # A home of its own each, so that only MLflow stands between them.
        with alias_lock(tmp_path / str(number), uri, name=MODEL):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.05)
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5
    assert registering.claims(uri, MODEL) == {}


def test_the_claim_of_a_process_that_ended_is_taken_over_at_once(uri: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    claim(uri, pid=int(ended.stdout))
    started = time.monotonic()
    with alias_lock(tmp_path, uri, name=MODEL):
        assert len(registering.claims(uri, MODEL)) == 1
    assert time.monotonic() - started < 5


def test_a_process_id_that_is_used_again_is_not_taken_for_the_claimant(uri: str, tmp_path: Path) -> None:
    claim(uri, pid=os.getpid(), started="1")
    with alias_lock(tmp_path, uri, name=MODEL, patience_s=5):
        assert len(registering.claims(uri, MODEL)) == 1


def test_the_claim_of_another_machine_holds_until_its_lease_ends(uri: str, tmp_path: Path) -> None:
    claim(uri, machine="another", host="far-away")
    with (
        pytest.raises(PromotionConflict, match=f"process {os.getpid()} on far-away holds the lock"),
        alias_lock(tmp_path, uri, name=MODEL, patience_s=0.5, lease_s=8),
    ):
        pass
    with alias_lock(tmp_path, uri, name=MODEL, patience_s=30, lease_s=1):
        assert len(registering.claims(uri, MODEL)) == 1
    assert registering.claims(uri, MODEL) == {}


def test_a_live_process_of_this_machine_is_waited_for(uri: str, tmp_path: Path) -> None:
    claim(uri)
    with (
        pytest.raises(PromotionConflict, match="holds the lock"),
        alias_lock(tmp_path, uri, name=MODEL, patience_s=0.3),
    ):
        pass
    registering.withdraw(uri, MODEL, "0" * 16)


def test_two_processes_of_one_home_wait_for_each_other_without_asking_mlflow(
    uri: str, tmp_path: Path
) -> None:
    with (
        alias_lock(tmp_path, uri, name=MODEL),
        pytest.raises(PromotionConflict, match="another process of this home"),
        alias_lock(tmp_path, uri, name=MODEL, patience_s=0.2),
    ):
        pass


def test_a_holder_that_took_too_long_moves_nothing(uri: str, tmp_path: Path) -> None:
    with alias_lock(tmp_path, uri, name=MODEL, lease_s=0.4) as held:
        time.sleep(0.2)
        with pytest.raises(PromotionConflict, match="ran out"):
            held.check()


def test_a_holder_whose_claim_is_gone_moves_nothing(uri: str) -> None:
    with pytest.raises(PromotionConflict, match="ran out"):
        Held(uri, MODEL, "never-announced", ends=time.monotonic() + 60).check()
