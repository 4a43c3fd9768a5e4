"""One epoch of training, and one pass over a split without it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import nn

from pt_core.errors import StepFailed
from pt_core.modeling.freeze import training_mode
from pt_core.training.batches import Fetch
from pt_core.training.session import Session

CHECK_EVERY = 256
"""Steps between two looks at the losses; each look waits for the device."""


class EpochResult(NamedTuple):
    """What a pass over a split gave."""

    loss: float
    """Mean over the samples."""
    accuracy: float
    """Share of samples right, 0 to 1."""
    gradient_norm: float | None
    """Greatest norm before clipping over the steps that did not overflow."""
    num_skipped_steps: int
    """Steps that the scaler skipped."""


def train_epoch(session: Session, *, fetch: Fetch, rows: Iterable[torch.Tensor], epoch: int) -> EpochResult:
    """Make one optimizer step per batch.

    Nothing is read back from the device between steps, so that it never waits for Python; losses are
    looked at every 256 steps and at the end.

    Raises:
        StepFailed: a loss was NaN or infinite.
    """
    training_mode(session.network)
    losses, norms, corrects, sizes = [], [], [], []
    num_skipped = 0
    for step, batch_rows in enumerate(rows, start=1):
        x, y = fetch(batch_rows)
        loss, correct = _forward(session, x, y)
        norm, has_stepped = _backward(session, loss)
        num_skipped += not has_stepped
        losses.append(loss.detach())
        norms.append(norm)
        corrects.append(correct)
        sizes.append(len(y))
        if step % CHECK_EVERY == 0:
            _refuse_non_finite(losses, epoch=epoch, session=session)
    _refuse_non_finite(losses, epoch=epoch, session=session)
    return EpochResult(
        loss=_mean(losses, sizes),
        accuracy=int(torch.stack(corrects).sum()) / sum(sizes),
        gradient_norm=_greatest_finite(norms),
        num_skipped_steps=num_skipped,
    )


def validate(session: Session, *, fetch: Fetch, rows: Iterable[torch.Tensor], epoch: int) -> EpochResult:
    """Return loss and accuracy of a split in evaluation mode, in the precision of training.

    Raises:
        StepFailed: the loss is NaN or infinite.
    """
    session.network.eval()
    losses, corrects, sizes = [], [], []
    with torch.inference_mode():
        for batch_rows in rows:
            x, y = fetch(batch_rows)
            loss, correct = _forward(session, x, y)
            losses.append(loss)
            corrects.append(correct)
            sizes.append(len(y))
    loss_mean = _mean(losses, sizes)
    if not math.isfinite(loss_mean):
        raise StepFailed(
            f"train: the validation loss is {loss_mean} after epoch {epoch}; {_advice(session.precision)}"
        )
    accuracy = int(torch.stack(corrects).sum()) / sum(sizes)
    return EpochResult(loss=loss_mean, accuracy=accuracy, gradient_norm=None, num_skipped_steps=0)


def _forward(session: Session, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with session.autocast():
        logits = session.network(x)
    # The loss is always fp32: exponentials of half-precision logits overflow or vanish.
    loss = F.cross_entropy(logits.float(), y, label_smoothing=session.config.label_smoothing)
    return loss, (logits.detach().argmax(dim=1) == y).sum()


def _backward(session: Session, loss: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """Make one step; return the gradient norm before clipping and whether the scaler let the step happen."""
    session.optimizer.zero_grad(set_to_none=True)
    session.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    session.scaler.unscale_(session.optimizer)
    parameters = [p for p in session.network.parameters() if p.grad is not None]
    limit = session.config.max_gradient_norm
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if limit is not None:
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    has_stepped = _step(session)
    session.scaler.update()
    if has_stepped:
        session.schedule.step()
    return norm, has_stepped


def _step(session: Session) -> bool:
    steps: list[bool] = []
    handle = session.optimizer.register_step_post_hook(lambda *_: steps.append(True))
    session.scaler.step(session.optimizer)
    handle.remove()
    return bool(steps)


def _refuse_non_finite(losses: list[torch.Tensor], *, epoch: int, session: Session) -> None:
    bad = (~torch.isfinite(torch.stack(losses))).nonzero()
    if len(bad):
        step = int(bad[0])
        raise StepFailed(
            f"train: the loss is {float(losses[step])} at epoch {epoch}, step {step + 1}; "
            f"{_advice(session.precision)}"
        )


def _advice(precision: str) -> str:
    first = "" if precision == "fp32" else f"set train.precision to {_safer(precision)}, or "
    return f"{first}lower train.learning_rate (or train.max_gradient_norm)"


def _safer(precision: str) -> str:
    return "fp32" if precision == "bf16-mixed" else "bf16-mixed or fp32"


def _mean(losses: list[torch.Tensor], sizes: list[int]) -> float:
    weights = torch.tensor(sizes, dtype=torch.float64)
    return float((torch.stack(losses).cpu().double() * weights).sum() / weights.sum())


def _greatest_finite(norms: list[torch.Tensor]) -> float | None:
    values = torch.stack(norms)
    finite = values[torch.isfinite(values)]
    return float(finite.max()) if len(finite) else None
