"""Closing the MLflow run of a run that failed never hides why it failed."""

from __future__ import annotations

import logging

import pytest

from tasks.dashboard import TrackedRun
from tasks.track import close_failed, track_finish


def test_the_first_error_of_a_run_is_the_one_that_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    lost = TrackedRun(tracking_uri="ftp://nowhere", experiment_id="1", run_id="5a1f")

    def fail() -> None:
        try:
            raise OSError("the disk is full")
        except OSError:
            close_failed(lost, finish=track_finish.fn)
            raise

    with caplog.at_level(logging.WARNING, "tasks.track"), pytest.raises(OSError, match="the disk is full"):
        fail()
    (told,) = [record.getMessage() for record in caplog.records if record.name == "tasks.track"]
    assert told.startswith("MLflow run 5a1f stays open, it could not be closed: ")
