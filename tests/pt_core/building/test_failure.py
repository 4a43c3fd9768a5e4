"""What is kept of a failure, and for which failures."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pt_core.building import failure
from pt_core.building.failure import FAILURES, Failure, forget, recorded, run_recorded
from pt_core.bundle import staging
from pt_core.errors import DataError, ParityError, PtCoreError, StepFailed, StepUnavailable
from pt_core.inference.requests import VerifyRequest
from pt_core.limits import Limits

REQUEST = VerifyRequest(directory="/nowhere")
LIMITS = Limits(timeout_s=60)


def fail(store: Path, error: Exception, request: VerifyRequest = REQUEST, name: str = "verify") -> None:
    target = "pt_core.inference.verify:verify"
    with recorded(name, target, request, store=store, limits=LIMITS, num_threads=1):
        raise error


@pytest.mark.parametrize("error", [DataError("no rows"), StepUnavailable("no compiler"), OSError("another")])
def test_bad_input_and_what_the_machine_lacks_are_told_and_not_kept(tmp_path, error):
    with pytest.raises(type(error)) as caught:
        fail(tmp_path, error)
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_its_type_details_and_output(tmp_path):
    error = ParityError("differs", details=["batch 1"])
    error.output = "line one\nline two\n"
    with pytest.raises(ParityError, match=r"^differs; to run it alone: ") as caught:
        fail(tmp_path, error)
    assert (caught.value.details, caught.value.output) == (("batch 1",), error.output)
    (folder,) = (tmp_path / FAILURES).iterdir()
    assert (folder / "output.log").read_text() == error.output
    assert VerifyRequest.from_json((folder / "request.json").read_bytes()) == REQUEST
    kept = Failure.from_json((folder / "error.json").read_bytes())
    assert (kept.error, kept.message, kept.details) == ("ParityError", "differs", ("batch 1",))


def test_a_disk_that_is_full_for_this_process_is_a_named_failure(tmp_path):
    with pytest.raises(StepFailed, match="the disk is full, free are"):
        fail(tmp_path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def test_a_failure_that_cannot_be_kept_says_so_and_is_still_itself(tmp_path):
    (tmp_path / FAILURES).write_text("in the way")
    with pytest.raises(ParityError, match=r"differs; what it takes to run it alone cannot be kept: .*exists"):
        fail(tmp_path, ParityError("differs"))


def test_what_a_dead_writer_left_in_the_store_is_swept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    (tmp_path / f".staging-{dead.pid}-0").mkdir(parents=True)
    with staging(tmp_path) as alive:
        with pytest.raises(ParityError):
            fail(tmp_path, ParityError("differs"))
        assert {path.name for path in tmp_path.iterdir()} == {FAILURES, alive.name}


def test_only_the_newest_failures_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(failure, "_MAX_FAILURES", 3)
    for number in range(5):
        with pytest.raises(PtCoreError):
            fail(tmp_path, StepFailed("m"), VerifyRequest(directory=f"/{number}"))
        (newest,) = {
            p for p in (tmp_path / FAILURES).iterdir() if f'"/{number}"' in (p / "request.json").read_text()
        }
        os.utime(newest, (number, number))
    kept = [
        json.loads((p / "request.json").read_text())["directory"] for p in (tmp_path / FAILURES).iterdir()
    ]
    assert sorted(kept) == ["/2", "/3", "/4"]


def test_a_failure_that_goes_away_while_the_oldest_are_forgotten_is_no_trouble(tmp_path):
    (tmp_path / FAILURES).mkdir()
    # A link to nothing has a name and no age, as a folder that another step takes away meanwhile.
    (tmp_path / FAILURES / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ParityError, match="differs; to run it alone: "):
        fail(tmp_path, ParityError("differs"))


def test_the_name_of_a_step_never_leaves_the_folder(tmp_path):
    with pytest.raises(PtCoreError):
        fail(tmp_path / "store", StepFailed("m"), name="../../escape")
    (folder,) = (tmp_path / "store" / FAILURES).iterdir()
    assert folder.name.startswith("..-..-escape-")


@pytest.mark.parametrize("store", ["store", """Bob's "x" y\\"""])
def test_any_isolated_function_can_be_run_alone_and_the_script_explains_itself(tmp_path, store):
    with pytest.raises(PtCoreError) as caught:
        run_recorded(
            "pt_core.inference.verify:verify",
            VerifyRequest(directory=str(tmp_path / "nothing")),
            name="verify",
            reply=Failure,
            store=tmp_path / store,
            limits=LIMITS,
            num_threads=1,
        )
    command = shlex.split(caught.value.message.rpartition("to run it alone: ")[2])
    run = {"capture_output": True, "text": True, "timeout": 60, "cwd": "/", "check": False}
    shown = subprocess.run([*command, "--help"], **run)
    assert shown.returncode == 0
    assert "under a debugger" in shown.stdout or "pdb" in shown.stdout
    again = subprocess.run([command[1], "--isolated"], **run)
    assert again.returncode == 1
    assert f"it failed: {type(caught.value).__name__}" in again.stdout


def test_what_another_request_made_good_is_forgotten(tmp_path):
    other = VerifyRequest(directory="/elsewhere")
    for request in (REQUEST, other):
        with pytest.raises(StepFailed):
            fail(tmp_path, StepFailed("no room"), request)
    forget("verify", REQUEST, store=tmp_path)
    forget("verify", VerifyRequest(directory="/never"), store=tmp_path)
    (left,) = (tmp_path / FAILURES).iterdir()
    assert VerifyRequest.from_json((left / "request.json").read_bytes()) == other
