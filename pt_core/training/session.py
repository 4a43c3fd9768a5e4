"""Session: what one training run changes step by step, and a copy of it that can be saved."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pt_core.artifacts.checkpoint import StartedFrom
from pt_core.artifacts.warm_start import warm_start
from pt_core.bundle import Bundle
from pt_core.modeling.freeze import freeze
from pt_core.modeling.initialize import initialize
from pt_core.modeling.network import build_network
from pt_core.modeling.spec import ModelConfig, ModelSpec
from pt_core.training.config import TrainConfig
from pt_core.training.optim import make_optimizer, make_schedule
from pt_core.training.seed import seed_everything

AUTOCAST_DTYPES = {"bf16-mixed": torch.bfloat16, "fp16-mixed": torch.float16}
"""Autocast type of each mixed precision."""


class Session(NamedTuple):
    """The moving parts of one run."""

    network: nn.Module
    """The network, on the device."""
    optimizer: Optimizer
    """Its optimizer."""
    schedule: LambdaLR
    """Its learning rate."""
    scaler: torch.amp.GradScaler
    """Scales the loss in fp16-mixed; does nothing otherwise."""
    shuffle: torch.Generator
    """Draws the order of the samples, on the CPU."""
    config: TrainConfig
    """How to train."""
    device: str
    """Where."""
    precision: str
    """fp32, bf16-mixed or fp16-mixed."""
    warm_start: StartedFrom | None = None
    """The checkpoint whose weights it starts with."""
    frozen: tuple[str, ...] = ()
    """Names of the parameters that are not trained because the configuration says so."""

    def autocast(self) -> torch.amp.autocast:
        """Return the context that a forward pass runs in."""
        dtype = AUTOCAST_DTYPES.get(self.precision)
        return torch.amp.autocast(self.device, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def start_session(
    spec: ModelSpec,
    config: TrainConfig,
    *,
    model: ModelConfig,
    seed: int,
    device: str,
    precision: str,
    total_steps: int,
    source: Bundle | None = None,
) -> Session:
    """Return a run that has not yet made a step; equal seeds give equal weights and orders.

    Raises:
        ConfigError: the weights of ``source`` do not fit as far as asked, or a pattern freezes nothing or everything.
    """
    seed_everything(seed)
    network = build_network(spec)
    initialize(network, method=model.initialization, generator=torch.Generator().manual_seed(seed))
    started = warm_start(network, model.warm_start, source=source) if model.warm_start and source else None
    frozen = freeze(network, model.freeze)
    network.to(device)
    if config.channels_last and len(spec.input_shape) == 3:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(network, config)
    return Session(
        network=network,
        optimizer=optimizer,
        schedule=make_schedule(optimizer, config, total_steps=total_steps),
        scaler=torch.amp.GradScaler(device, enabled=precision == "fp16-mixed"),
        shuffle=torch.Generator().manual_seed(seed),
        config=config,
        device=device,
        precision=precision,
        warm_start=started,
        frozen=frozen,
    )


class Snapshot(NamedTuple):
    """A copy of a run after one epoch, on the CPU."""

    epoch: int
    """The epoch, from 1."""
    weights: dict[str, torch.Tensor]
    """State of the network."""
    training_state: dict[str, object]
    """Everything else that a continued run needs: plain values and tensors."""


def take_snapshot(session: Session, *, epoch: int) -> Snapshot:
    """Copy a run, so that later steps do not change the copy."""
    state = {
        "epoch": epoch,
        "optimizer": session.optimizer.state_dict(),
        "schedule": {"last_epoch": session.schedule.last_epoch, "step_count": session.schedule._step_count},
        "scaler": session.scaler.state_dict(),
        "rng": _rng_states(session),
    }
    weights: dict[str, torch.Tensor] = _copy(session.network.state_dict())
    return Snapshot(epoch=epoch, weights=weights, training_state=_copy(state))


def _rng_states(session: Session) -> dict[str, object]:
    _, keys, position, _, _ = np.random.get_state(legacy=True)  # noqa: NPY002 - saved, not drawn from
    return {
        "shuffle": session.shuffle.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if session.device == "cuda" else None,
        "python": list(random.getstate()[1]),
        "numpy": {"keys": torch.from_numpy(np.asarray(keys).astype(np.int64)), "position": int(position)},
    }


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(item) for item in value]
    return value
