"""Train one network on one dataset: the loop over epochs, from a request to a checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from pt_core.artifacts.checkpoint import Checkpoint, CheckpointInfo, EpochMetrics
from pt_core.artifacts.checkpoint_files import save_checkpoint
from pt_core.bundle import check_digest
from pt_core.data.dataset import Samples, load_split
from pt_core.devices import resolve_device, resolve_precision
from pt_core.environment import describe_environment
from pt_core.errors import StepFailed
from pt_core.isolation import report_progress
from pt_core.modeling.cost import network_cost
from pt_core.modeling.memory import saving_memory
from pt_core.modeling.network import build_network, complete_spec
from pt_core.training.batches import Fetch, count_batches, make_fetch, ordered_rows, shuffled_rows
from pt_core.training.config import TrainConfig
from pt_core.training.epoch import train_epoch, validate
from pt_core.training.optim import last_learning_rate
from pt_core.training.requests import TrainRequest
from pt_core.training.session import Session, Snapshot, start_session, take_snapshot

NUM_GOLDEN = 16
"""Validation samples whose logits every bundle carries, for a replay on any machine."""


class Data(NamedTuple):
    """The two splits that training sees."""

    train: Samples
    """What is learnt from."""
    validation: Samples
    """What is watched."""
    fetch_train: Fetch
    """Reads rows of the first onto the device."""
    fetch_validation: Fetch
    """Reads rows of the second."""


def train(request: TrainRequest) -> Checkpoint:
    """Train, and return the checkpoint of the last epoch, or of the best one where early stopping is on.

    The best epoch has the lowest validation loss. Without ``early_stopping_patience`` the last epoch is
    kept, whatever its validation loss: the schedule ends there, and no choice is made on validation data.

    Raises:
        IntegrityError: the dataset's bytes are damaged.
        ConfigError: the network cannot be built for this data, or the device is not here.
        StepFailed: the loss became NaN or infinite, or the scaler skipped every step.
    """
    check_digest(request.dataset)
    config = request.config
    device = resolve_device(config.device)
    decision = resolve_precision(config.precision, device)
    spec = complete_spec(request.model, request.dataset, channels_last=config.channels_last)
    data = _open_data(request, device)
    session = start_session(
        spec,
        config,
        model=request.model,
        seed=request.seed,
        device=device,
        precision=decision.precision,
        total_steps=config.epochs * count_batches(len(data.train.y), config.batch_size),
        source=request.warm_start,
    )
    with saving_memory(session.network, request.model.gradient_checkpointing):
        history, kept = _run_epochs(session, data)
    # A fresh network: on the CPU, contiguous, and with nothing that is not in the saved weights.
    network = build_network(spec)
    network.load_state_dict(kept.weights)
    info = CheckpointInfo(
        spec=spec,
        labels=request.dataset.labels,
        dataset_digest=request.dataset.digest,
        data_fingerprint=request.dataset.fingerprint,
        splits=request.dataset.splits,
        config=config.model_dump(mode="json"),
        seed=request.seed,
        precision=decision.precision,
        precision_reason=decision.reason,
        device=device,
        epoch=kept.epoch,
        history=tuple(history),
        num_parameters=_num_parameters(session.network, trained=True),
        environment=describe_environment(),
        num_frozen_parameters=_num_parameters(session.network, trained=False),
        frozen=session.frozen,
        flops_per_sample=network_cost(network.eval(), input_shape=spec.input_shape).flops,
        warm_start=session.warm_start,
    )
    return save_checkpoint(
        Path(request.store),
        info=info,
        network=network,
        training_state=kept.training_state,
        golden_inputs=torch.tensor(data.validation.x[:NUM_GOLDEN]),
    )


def _num_parameters(network: nn.Module, *, trained: bool) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad == trained)


def _open_data(request: TrainRequest, device: str) -> Data:
    train_split, validation = (load_split(request.dataset, name) for name in ("train", "validation"))
    fetch_train, fetch_validation = (
        make_fetch(split, device=device, channels_last=request.config.channels_last)
        for split in (train_split, validation)
    )
    return Data(train_split, validation, fetch_train, fetch_validation)


def _run_epochs(session: Session, data: Data) -> tuple[list[EpochMetrics], Snapshot]:
    config = session.config
    history: list[EpochMetrics] = []
    kept: Snapshot | None = None
    for epoch in range(1, config.epochs + 1):
        metrics = _one_epoch(session, data, epoch=epoch)
        history.append(metrics)
        report_progress(
            epoch,
            config.epochs,
            f"loss {metrics.train_loss:.3f}, validation accuracy {metrics.validation_accuracy:.3f}",
        )
        if _is_kept(history, config):
            kept = take_snapshot(session, epoch=epoch)
        if _is_over(history, config):
            break
    _refuse_no_step(history, data, config)
    assert kept is not None
    return history, kept


def _one_epoch(session: Session, data: Data, *, epoch: int) -> EpochMetrics:
    batch_size = session.config.batch_size
    num_train = len(data.train.y)
    started = time.perf_counter()
    rows = shuffled_rows(num_train, batch_size=batch_size, generator=session.shuffle)
    trained = train_epoch(session, fetch=data.fetch_train, rows=rows, epoch=epoch)
    seconds = time.perf_counter() - started
    held_out = ordered_rows(len(data.validation.y), batch_size=batch_size)
    validated = validate(session, fetch=data.fetch_validation, rows=held_out, epoch=epoch)
    return EpochMetrics(
        epoch=epoch,
        train_loss=trained.loss,
        train_accuracy=trained.accuracy,
        validation_loss=validated.loss,
        validation_accuracy=validated.accuracy,
        learning_rate=last_learning_rate(session.schedule),
        gradient_norm=trained.gradient_norm,
        num_skipped_steps=trained.num_skipped_steps,
        samples_per_s=num_train / seconds,
    )


def _best_epoch(history: list[EpochMetrics]) -> int:
    return min(history, key=lambda metrics: metrics.validation_loss).epoch


def _is_kept(history: list[EpochMetrics], config: TrainConfig) -> bool:
    epoch = history[-1].epoch
    if config.early_stopping_patience is None:
        return epoch == config.epochs
    return epoch == _best_epoch(history)


def _is_over(history: list[EpochMetrics], config: TrainConfig) -> bool:
    patience = config.early_stopping_patience
    return patience is not None and history[-1].epoch - _best_epoch(history) >= patience


def _refuse_no_step(history: list[EpochMetrics], data: Data, config: TrainConfig) -> None:
    num_steps = len(history) * count_batches(len(data.train.y), config.batch_size)
    if sum(metrics.num_skipped_steps for metrics in history) == num_steps:
        raise StepFailed(
            f"train: the gradients overflowed in all {num_steps} steps, so no weight changed; "
            "set train.precision to bf16-mixed or fp32, or train for more steps"
        )
