"""What a person is told while a training goes on."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from pt_core.isolation import CODE_PATH_VARIABLE, Progress, run_isolated
from pt_core.record import Record
from pt_core.training.live import INTERVAL_S, Live, as_time


class Training(Record):
    """How many steps it has, and how long it took."""

    num_steps: int
    seconds: float = 0.0


def train_a_little(request: Training) -> Training:
    """Make steps of 64 samples and 20 ms, in a process of its own."""
    live, started = Live(epochs=2, steps_per_epoch=request.num_steps, step_size=64), time.monotonic()
    for step in range(1, request.num_steps + 1):
        time.sleep(0.02)
        if live.is_due():
            live.tell_step(epoch=1, num_steps=step, loss=0.5, accuracy=0.75)
    return Training(num_steps=request.num_steps, seconds=time.monotonic() - started)


def test_a_message_has_loss_accuracy_samples_a_second_and_the_time_that_is_left(monkeypatch):
    monkeypatch.setenv(CODE_PATH_VARIABLE, str(Path(__file__).parent))
    said: list[Progress] = []
    asked = Training(num_steps=40)
    done = run_isolated(
        "test_live:train_a_little", asked, reply=Training, timeout_s=60, on_progress=said.append
    )
    assert 2 <= len(said) <= done.seconds / INTERVAL_S
    for progress in said:
        shape = r"epoch 1 of 2, loss 0\.500, accuracy 0\.750, ([\d,]+) samples/s, (\d+):(\d\d) left"
        rate, minutes, seconds = re.fullmatch(shape, progress.message).groups()
        # No faster than 64 samples every 20 ms.
        assert 64 * 40 / done.seconds / 4 < int(rate.replace(",", "")) <= 3200
        assert 0 <= 60 * int(minutes) + int(seconds) <= 4 * done.seconds
    assert [progress.total for progress in said] == [80] * len(said)
    assert [progress.done for progress in said] == sorted(progress.done for progress in said)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (3723, "1:02:03")],
)
def test_a_time_is_told_as_a_clock_tells_it(seconds, expected):
    assert as_time(seconds) == expected
