"""The learning rate over the optimizer steps, and over the validation losses where it is lowered at a plateau."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from pt_core.training.config import TrainConfig

RISING_SHARE = 0.3
"""Share of the steps in which "one-cycle" rises."""

START_FACTOR = 1 / 25
"""Where "one-cycle" starts, as a share of the greatest learning rate."""

END_FACTOR = 1e-4
"""Where "one-cycle" ends."""

PLATEAU_THRESHOLD = 1e-4
"""Share by which a validation loss must be lower than the best to be better, as in torch's ReduceLROnPlateau."""


class Schedule:
    """The learning rate of an optimizer: a factor of the steps made, times a factor of the validation losses."""

    def __init__(
        self,
        optimizer: Optimizer,
        factor: Callable[[int], float],
        *,
        plateau: tuple[int, float] | None = None,
    ) -> None:
        """Set the rate of the first step.

        Args:
            optimizer: each group's rate is the greatest one.
            factor: from the number of steps made to what the greatest rate is multiplied by.
            plateau: patience in epochs and factor; ``None`` does not look at losses.
        """
        self.num_steps = 0
        self._optimizer = optimizer
        self._greatest = [float(group["lr"]) for group in optimizer.param_groups]
        self._factor = factor
        self._plateau = plateau
        self._lowered = 1.0
        self._best = math.inf
        self._num_worse = 0
        self._apply()

    def step(self) -> None:
        """One optimizer step was made."""
        self.num_steps += 1
        self._apply()

    def observe(self, validation_loss: float) -> None:
        """One epoch gave this validation loss."""
        if self._plateau is None:
            return
        patience, factor = self._plateau
        if validation_loss < self._best * (1 - PLATEAU_THRESHOLD):
            self._best, self._num_worse = validation_loss, 0
        else:
            self._num_worse += 1
        if self._num_worse > patience:
            self._lowered *= factor
            self._num_worse = 0
            self._apply()

    @property
    def learning_rate(self) -> float:
        """The learning rate that the next step will use."""
        return float(self._optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Return what has been counted, as plain values."""
        return {
            "num_steps": self.num_steps,
            "lowered": self._lowered,
            "best": self._best,
            "num_worse": self._num_worse,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self.num_steps = int(state["num_steps"])
        self._lowered = float(state["lowered"])
        self._best = float(state["best"])
        self._num_worse = int(state["num_worse"])
        self._apply()

    def _apply(self) -> None:
        factor = self._factor(self.num_steps) * self._lowered
        for group, greatest in zip(self._optimizer.param_groups, self._greatest, strict=True):
            group["lr"] = greatest * factor


def make_schedule(optimizer: Optimizer, config: TrainConfig, *, total_steps: int) -> Schedule:
    """Return the schedule over ``total_steps`` optimizer steps.

    one-cycle: a cosine from 1/25 of the learning rate up to it, then a cosine down to 1e-4 of it
    (Smith and Topin 2017, https://arxiv.org/abs/1708.07120, as in torch's OneCycleLR);
    cosine: a cosine from the learning rate to 0; constant: no change; plateau: lowered by a factor after
    some epochs without a lower validation loss, as torch's ReduceLROnPlateau does.
    The last three may begin with a linear rise.
    """
    rise = round(total_steps * config.warmup_epochs / config.epochs)
    factors: dict[str, Callable[[int], float]] = {
        "one-cycle": lambda step: _one_cycle(step, total_steps),
        "cosine": lambda step: _cosine(1.0, 0.0, (step - rise) / max(1, total_steps - rise)),
        "constant": lambda _: 1.0,
        "plateau": lambda _: 1.0,
    }
    settled = factors[config.schedule]
    plateau = (config.plateau_patience, config.plateau_factor) if config.schedule == "plateau" else None
    return Schedule(
        optimizer, lambda step: (step + 1) / rise if step < rise else settled(step), plateau=plateau
    )


def _one_cycle(step: int, total_steps: int) -> float:
    peak = max(1.0, RISING_SHARE * total_steps)
    if step < peak:
        return _cosine(START_FACTOR, 1.0, step / peak)
    return _cosine(1.0, END_FACTOR, (step - peak) / max(1.0, total_steps - peak))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
