"""The loop over epochs: where a training stands after any step, and how it goes on from there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from pt_core.artifacts.checkpoint import EpochMetrics
from pt_core.errors import StepFailed
from pt_core.training.batches import count_batches, expect, in_batches, ordered_rows
from pt_core.training.classes import balanced_order, showings
from pt_core.training.config import TrainConfig
from pt_core.training.epoch import train_epoch, validate
from pt_core.training.live import Live
from pt_core.training.session import Session, Snapshot, restore, take_snapshot, training_state
from pt_core.training.splits import Data
from pt_core.training.step import parts_of
from pt_core.training.sums import Sums


@dataclass
class Standing:
    """Where a training stands between two steps; with the session, all that the next step depends on."""

    epoch: int = 1
    """The epoch under way, from 1."""
    sums: Sums = field(default_factory=Sums)
    """Its steps so far; their number is the position of the sampler."""
    order_state: torch.Tensor | None = None
    """State of the session's generator before it drew the order of this epoch; ``None`` before the first step."""
    seconds: float = 0.0
    """Time that this epoch has taken before the process that goes on with it."""
    history: list[EpochMetrics] = field(default_factory=list)
    """The epochs that are over."""
    kept: Snapshot | None = None
    """The epoch to return, as far as it is known."""


def run_epochs(
    session: Session,
    data: Data,
    standing: Standing,
    *,
    live: Live | None,
    after_step: Callable[[], None],
) -> Snapshot:
    """Train from where ``standing`` is to the end; return the snapshot of the epoch that is kept.

    Raises:
        StepFailed: the loss became NaN or infinite, or the scaler skipped every step.
    """
    config = session.config
    while not _is_over(standing.history, config):
        metrics = _one_epoch(session, data, standing, live=live, after_step=after_step)
        standing.history.append(metrics)
        session.schedule.observe(metrics.validation_loss)
        if live:
            live.tell_epoch(metrics)
        if _is_kept(standing.history, config):
            standing.kept = take_snapshot(session, epoch=standing.epoch)
        standing.epoch, standing.sums = standing.epoch + 1, Sums()
        standing.order_state, standing.seconds = None, 0.0
    _refuse_no_step(standing.history, len(data.train.y), config)
    assert standing.kept is not None
    return standing.kept


def steps_per_epoch(num_samples: int, config: TrainConfig) -> int:
    """Return how many optimizer steps an epoch has."""
    return count_batches(num_samples, config.step_size)


def standing_state(session: Session, standing: Standing) -> dict[str, object]:
    """Return a copy of everything that :func:`take_up` needs: plain values, and tensors on the CPU."""
    kept = standing.kept
    return {
        **training_state(session, epoch=standing.epoch),
        "standing": {
            "epoch": standing.epoch,
            "sums": standing.sums.state_dict(),
            "order_state": standing.order_state,
            "seconds": standing.seconds,
            "history": [metrics.model_dump(mode="json") for metrics in standing.history],
            "kept": None if kept is None else kept._asdict(),
        },
    }


def take_up(session: Session, state: dict[str, Any], weights: dict[str, torch.Tensor]) -> Standing:
    """Put a session back to where :func:`standing_state` was taken, and return where it stands."""
    restore(session, state, weights)
    saved = state["standing"]
    sums = Sums()
    sums.load_state_dict(saved["sums"], device=session.device)
    return Standing(
        epoch=int(saved["epoch"]),
        sums=sums,
        order_state=saved["order_state"],
        seconds=float(saved["seconds"]),
        history=[EpochMetrics.model_validate(metrics) for metrics in saved["history"]],
        kept=Snapshot(**saved["kept"]) if saved["kept"] else None,
    )


def _one_epoch(
    session: Session,
    data: Data,
    standing: Standing,
    *,
    live: Live | None,
    after_step: Callable[[], None],
) -> EpochMetrics:
    epoch, sums, num_samples = standing.epoch, standing.sums, len(data.train.y)
    started, before = time.perf_counter(), standing.seconds

    def stepped() -> None:
        standing.seconds = before + time.perf_counter() - started
        if live and live.is_due():
            loss, accuracy = sums.peek()
            live.tell_step(epoch=epoch, num_steps=sums.num_steps, loss=loss, accuracy=accuracy)
        after_step()

    rows = _rows_left(session, data, standing)
    expect(data.train, (part % num_samples for step in rows for part in parts_of(session, step)))
    trained = train_epoch(
        session,
        fetch=data.fetch_train(epoch),
        rows=rows,
        epoch=epoch,
        sums=sums,
        num_bad_before=sum(metrics.num_bad_steps for metrics in standing.history),
        after_step=stepped,
    )
    standing.seconds = before + time.perf_counter() - started
    # What did not fit into memory in training would not fit here either.
    batch_size = session.micro_batch or session.config.batch_size
    held_out = list(ordered_rows(len(data.validation.y), batch_size=batch_size))
    expect(data.validation, filter(len, map(session.peers.take, held_out)))
    validated = validate(session, fetch=data.fetch_validation, rows=held_out, epoch=epoch)
    return EpochMetrics(
        epoch=epoch,
        train_loss=trained.loss,
        train_accuracy=trained.accuracy,
        validation_loss=validated.loss,
        validation_accuracy=validated.accuracy,
        learning_rate=session.schedule.learning_rate,
        gradient_norm=trained.gradient_norm,
        num_skipped_steps=trained.num_skipped_steps,
        samples_per_s=num_samples / standing.seconds,
        num_bad_steps=trained.num_bad_steps,
        loss_scale=session.scaler.get_scale() if session.scaler.is_enabled() else None,
    )


def _rows_left(session: Session, data: Data, standing: Standing) -> list[torch.Tensor]:
    """Return the rows of each step that this epoch still has to make, as :func:`augmented` takes them."""
    if standing.order_state is None:
        standing.order_state = session.shuffle.get_state()
    # Drawn again where the training goes on in mid-epoch, which leaves the generator where it was too.
    session.shuffle.set_state(standing.order_state)
    if session.config.sampler == "balanced":
        y = torch.from_numpy(data.train.y.copy())
        order = showings(balanced_order(y, generator=session.shuffle), num_samples=len(y))
    else:
        order = torch.randperm(len(data.train.y), generator=session.shuffle)
    return in_batches(order, session.config.step_size)[standing.sums.num_steps :]


def _best_epoch(history: list[EpochMetrics]) -> int:
    return min(history, key=lambda metrics: metrics.validation_loss).epoch


def _is_kept(history: list[EpochMetrics], config: TrainConfig) -> bool:
    epoch = history[-1].epoch
    if config.early_stopping_patience is None:
        return epoch == config.epochs
    return epoch == _best_epoch(history)


def _is_over(history: list[EpochMetrics], config: TrainConfig) -> bool:
    patience = config.early_stopping_patience
    if len(history) == config.epochs:
        return True
    return bool(history) and patience is not None and history[-1].epoch - _best_epoch(history) >= patience


def _refuse_no_step(history: list[EpochMetrics], num_samples: int, config: TrainConfig) -> None:
    num_steps = len(history) * steps_per_epoch(num_samples, config)
    if sum(metrics.num_skipped_steps for metrics in history) == num_steps:
        raise StepFailed(
            f"train: the gradients overflowed in all {num_steps} steps, so no weight changed; "
            "set train.precision to bf16-mixed or fp32, or train for more steps"
        )
