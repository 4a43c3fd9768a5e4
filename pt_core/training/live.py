"""What a person sees while a training goes on: loss, accuracy, samples a second, time left; at most five times a second."""

from __future__ import annotations

import time

from pt_core.artifacts.checkpoint import EpochMetrics
from pt_core.isolation import report_progress

INTERVAL_S = 0.2
"""Seconds between two messages; each waits for the device once."""


class Live:
    """Tells the parent process about every epoch, and about steps now and then."""

    def __init__(self, *, epochs: int, steps_per_epoch: int, step_size: int) -> None:
        """Start the clock.

        Args:
            epochs: passes in all.
            steps_per_epoch: steps of each.
            step_size: samples of a step.
        """
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._step_size = step_size
        self._told_at = self._started_at = time.monotonic()
        self._num_steps = 0

    def is_due(self) -> bool:
        """Count a step, and return whether it is time for a message."""
        self._num_steps += 1
        return time.monotonic() - self._told_at >= INTERVAL_S

    def tell_step(self, *, epoch: int, num_steps: int, loss: float, accuracy: float) -> None:
        """Tell how far an epoch is."""
        self._told_at = time.monotonic()
        done, total = (epoch - 1) * self._steps_per_epoch + num_steps, self._epochs * self._steps_per_epoch
        a_step = (self._told_at - self._started_at) / self._num_steps
        report_progress(
            done,
            total,
            f"epoch {epoch} of {self._epochs}, loss {loss:.3f}, accuracy {accuracy:.3f}, "
            f"{self._step_size / a_step:,.0f} samples/s, {as_time((total - done) * a_step)} left",
        )

    def tell_epoch(self, metrics: EpochMetrics) -> None:
        """Tell what an epoch gave; the figures are those that are defined."""
        values = metrics.model_dump(exclude={"epoch"})
        report_progress(
            metrics.epoch * self._steps_per_epoch,
            self._epochs * self._steps_per_epoch,
            f"loss {metrics.train_loss:.3f}, validation accuracy {metrics.validation_accuracy:.3f}",
            step=metrics.epoch,
            figures={name: float(value) for name, value in values.items() if value is not None},
        )


def as_time(seconds: float) -> str:
    """Return seconds as 4:05 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
