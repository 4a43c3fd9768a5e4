"""One epoch of training, and one pass over a split without it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch

from pt_core.errors import TrainingDiverged
from pt_core.modeling.freeze import training_mode
from pt_core.training.averaging import averaged
from pt_core.training.batches import Fetch
from pt_core.training.session import Session
from pt_core.training.step import Step, evaluate_batch, make_step
from pt_core.training.sums import EpochResult, Sums

__all__ = ["EpochResult", "train_epoch", "validate"]


def train_epoch(
    session: Session,
    *,
    fetch: Fetch,
    rows: Iterable[torch.Tensor],
    epoch: int,
    sums: Sums | None = None,
    num_bad_before: int = 0,
    after_step: Callable[[], None] | None = None,
) -> EpochResult:
    """Make one optimizer step for each item of ``rows``.

    Args:
        session: changed in place.
        fetch: reads rows of the training split.
        rows: the rows of each step that is still to be made in this epoch.
        epoch: its number, for messages.
        sums: of the steps that this epoch made already; kept up to date after every step.
        num_bad_before: bad steps of the epochs before, which count towards ``max_bad_steps``.
        after_step: called after every step.

    Raises:
        TrainingDiverged: more losses or gradients were NaN or infinite than ``max_bad_steps`` allows, or all were.
    """
    training_mode(session.network)
    sums = sums or Sums()
    for step_rows in rows:
        step = make_step(session, fetch=fetch, rows=step_rows)
        sums.count(step.outcome)
        if step.outcome == "bad":
            _refuse_too_many(session, step, sums, epoch=epoch, num_bad_before=num_bad_before)
        else:
            sums.add(step.loss, step.correct, size=len(step_rows), norm=step.norm)
        if sums.is_due:
            refuse_non_finite(session, sums, epoch=epoch)
            sums.fold()
        if after_step:
            after_step()
    refuse_non_finite(session, sums, epoch=epoch)
    sums.fold()
    if not sums.num_samples:
        raise TrainingDiverged(
            f"train: in all {sums.num_steps} steps of epoch {epoch} the loss or the gradient was NaN or infinite; "
            f"{_advice(session.precision)}"
        )
    return sums.result()


def validate(session: Session, *, fetch: Fetch, rows: Iterable[torch.Tensor], epoch: int) -> EpochResult:
    """Return loss and accuracy of a split in evaluation mode, in the precision of training.

    Raises:
        TrainingDiverged: the loss is NaN or infinite.
    """
    session.network.eval()
    sums = Sums()
    with torch.inference_mode(), averaged(session.network, session.average):
        for batch_rows in rows:
            loss, correct = evaluate_batch(session, fetch=fetch, rows=batch_rows)
            sums.add(loss, correct, size=len(batch_rows))
        sums.fold()
    result = sums.result()
    if not math.isfinite(result.loss):
        raise TrainingDiverged(
            f"train: the validation loss is {result.loss} after epoch {epoch}; {_advice(session.precision)}"
        )
    return result


def refuse_non_finite(session: Session, sums: Sums, *, epoch: int) -> None:
    """Look at the losses since the last look; waits for the device.

    Raises:
        TrainingDiverged: one was NaN or infinite.
    """
    bad = sums.first_bad()
    if bad is not None:
        step, loss = bad
        raise TrainingDiverged(
            f"train: the loss is {loss} at epoch {epoch}, step {step}; {_advice(session.precision)}"
        )


def _refuse_too_many(session: Session, step: Step, sums: Sums, *, epoch: int, num_bad_before: int) -> None:
    allowed = session.config.max_bad_steps
    if num_bad_before + sums.num_bad <= allowed:
        return
    loss = float(step.loss)
    what = f"gradient's norm is {float(step.norm)}" if math.isfinite(loss) else f"loss is {loss}"
    skipped = f", after {allowed} such steps were skipped" if allowed else ""
    raise TrainingDiverged(
        f"train: the {what} at epoch {epoch}, step {sums.num_steps}{skipped}; {_advice(session.precision)}"
    )


def _advice(precision: str) -> str:
    first = "" if precision == "fp32" else f"set train.precision to {_safer(precision)}, or "
    return f"{first}lower train.learning_rate (or train.max_gradient_norm)"


def _safer(precision: str) -> str:
    return "fp32" if precision == "bf16-mixed" else "bf16-mixed or fp32"
