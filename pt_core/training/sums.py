"""What the steps of one epoch add up to, looked at seldom so that the device never waits for Python."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch

FOLD_EVERY = 256
"""Steps between two looks at the losses; each look waits for the device."""

Outcome = Literal["stepped", "overflowed", "bad"]
"""Whether a step changed the weights, was skipped by the scaler, or had a NaN or infinite loss or gradient."""


class EpochResult(NamedTuple):
    """What a pass over a split gave."""

    loss: float
    """Mean over the samples of all steps but the bad ones."""
    accuracy: float
    """Share of those samples right, 0 to 1."""
    gradient_norm: float | None
    """Greatest norm before clipping over the steps that did not overflow."""
    num_skipped_steps: int
    """Steps that the scaler skipped."""
    num_bad_steps: int = 0
    """Steps that were skipped because the loss or the gradient was NaN or infinite."""


class Sums:
    """Running sums of an epoch; :meth:`state_dict` holds them exactly, with the steps not yet looked at."""

    def __init__(self) -> None:
        """Start an epoch."""
        self.num_steps = 0
        self.num_overflows = 0
        self.num_bad = 0
        self.num_samples = 0
        self._loss = 0.0
        self._num_correct = 0
        self._norm: float | None = None
        self._losses: list[torch.Tensor] = []
        self._corrects: list[torch.Tensor] = []
        self._norms: list[torch.Tensor] = []
        self._sizes: list[int] = []

    def add(
        self, loss: torch.Tensor, correct: torch.Tensor, *, size: int, norm: torch.Tensor | None = None
    ) -> None:
        """Add the mean loss of ``size`` samples, how many are right, and the gradient's norm."""
        self._losses.append(loss)
        self._corrects.append(correct)
        self._sizes.append(size)
        if norm is not None:
            self._norms.append(norm)

    def count(self, outcome: Outcome) -> None:
        """Count a step; of a bad one nothing else is added."""
        self.num_steps += 1
        self.num_overflows += outcome == "overflowed"
        self.num_bad += outcome == "bad"

    @property
    def is_due(self) -> bool:
        """Whether enough steps have gathered for a look."""
        return len(self._losses) >= FOLD_EVERY

    def first_bad(self) -> tuple[int, float] | None:
        """Return number and loss of the first gathered step whose loss is not finite; waits for the device."""
        if not self._losses:
            return None
        losses = torch.stack(self._losses)
        bad = (~torch.isfinite(losses)).nonzero()
        if not len(bad):
            return None
        first = int(bad[0])
        return self.num_steps - len(losses) + first + 1, float(losses[first])

    def fold(self) -> None:
        """Add up the steps that have gathered; waits for the device."""
        if not self._losses:
            return
        weights = torch.tensor(self._sizes, dtype=torch.float64)
        self._loss += float((torch.stack(self._losses).cpu().double() * weights).sum())
        self.num_samples += sum(self._sizes)
        self._num_correct += int(torch.stack(self._corrects).sum())
        self._norm = _greatest(self._norm, self._norms)
        self._losses, self._corrects, self._norms, self._sizes = [], [], [], []

    def result(self) -> EpochResult:
        """Return the figures of all that was folded; NaN where no step counted."""
        num = self.num_samples
        return EpochResult(
            loss=self._loss / num if num else math.nan,
            accuracy=self._num_correct / num if num else math.nan,
            gradient_norm=self._norm,
            num_skipped_steps=self.num_overflows,
            num_bad_steps=self.num_bad,
        )

    def peek(self) -> tuple[float, float]:
        """Return loss and accuracy so far for a person to read; waits for the device, changes nothing."""
        num = self.num_samples + sum(self._sizes)
        if not self._losses:
            return self._loss / max(1, num), self._num_correct / max(1, num)
        sizes = torch.tensor(self._sizes, dtype=torch.float64)
        loss = float((torch.stack(self._losses).cpu().double() * sizes).sum())
        correct = int(torch.stack(self._corrects).sum())
        return (self._loss + loss) / num, (self._num_correct + correct) / num

    def state_dict(self) -> dict[str, Any]:
        """Return everything, as plain values and tensors."""
        return {
            "counts": [self.num_steps, self.num_overflows, self.num_bad, self.num_samples, self._num_correct],
            "loss": self._loss,
            "norm": self._norm,
            **{name: torch.stack(kept) if kept else None for name, kept in self._gathered().items()},
            "sizes": list(self._sizes),
        }

    def load_state_dict(self, state: dict[str, Any], *, device: str) -> None:
        """Go on from what :meth:`state_dict` returned."""
        counts = [int(count) for count in state["counts"]]
        self.num_steps, self.num_overflows, self.num_bad, self.num_samples, self._num_correct = counts
        self._loss = float(state["loss"])
        self._norm = None if state["norm"] is None else float(state["norm"])
        for name, kept in self._gathered().items():
            kept[:] = [] if state[name] is None else state[name].to(device).unbind()
        self._sizes = [int(size) for size in state["sizes"]]

    def _gathered(self) -> dict[str, list[torch.Tensor]]:
        return {"losses": self._losses, "corrects": self._corrects, "norms": self._norms}


def _greatest(known: float | None, norms: list[torch.Tensor]) -> float | None:
    if not norms:
        return known
    values = torch.stack(norms)
    finite = values[torch.isfinite(values)]
    found = [float(finite.max())] if len(finite) else []
    return max([*found, *([] if known is None else [known])], default=None)
