"""Closing the MLflow run of a run that failed never hides why it failed."""

from __future__ import annotations

import pytest

from tasks.dashboard import TrackedRun
from tasks.track import close_failed, track_finish


def fail() -> None:
    raise OSError("the disk is full")


def run_and_close() -> None:
    """Do as the flow does, in an MLflow that is gone."""
    lost = TrackedRun(tracking_uri="ftp://nowhere", experiment_id="1", run_id="5a1f")
    try:
        fail()
    except OSError:
        close_failed(lost, finish=track_finish.fn)
        raise


def test_the_first_error_of_a_run_is_the_one_that_is_raised(hear) -> None:
    told = hear(close_failed.__module__)
    with pytest.raises(OSError, match="the disk is full"):
        run_and_close()
    (sentence,) = told
    assert sentence.startswith("MLflow run 5a1f stays open, it could not be closed: ")
