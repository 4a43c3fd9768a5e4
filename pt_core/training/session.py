"""Session: what one training run changes step by step, a copy of it that can be saved, and how to go on from one."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from pt_core.artifacts.checkpoint import StartedFrom
from pt_core.artifacts.warm_start import warm_start
from pt_core.bundle import Bundle
from pt_core.devices import AUTOCAST_DTYPES
from pt_core.modeling.freeze import freeze
from pt_core.modeling.initialize import initialize
from pt_core.modeling.network import build_network
from pt_core.modeling.spec import ModelConfig, ModelSpec
from pt_core.training.averaging import Average, averaged, start_average
from pt_core.training.batches import in_batches
from pt_core.training.config import TrainConfig
from pt_core.training.optim import make_optimizer
from pt_core.training.schedule import Schedule, make_schedule
from pt_core.training.seed import seed_everything
from pt_core.training.stages import split_in_two, stage_devices


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


class Peers(NamedTuple):
    """What a step does with the other processes that train the same network; by default there are none."""

    num: int = 1
    """How many processes there are; each averages its gradients with theirs."""
    take: Callable[[torch.Tensor], torch.Tensor] = _as_it_is
    """From the rows of a whole batch to those that this process computes."""
    parts: Callable[[torch.Tensor, int], list[torch.Tensor]] = in_batches
    """From the rows of a whole step, and how many a forward pass takes, to what this process computes in turn."""
    add_up: Callable[[torch.Tensor], torch.Tensor] = _as_it_is
    """From a number of this process to the sum over all."""
    holding: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    """Around a backward pass whose gradients are not yet averaged, because another follows in the same step."""
    writes: bool = True
    """Whether this process writes checkpoints and tells the progress."""
    share: Callable[[str], str] = str
    """From a text of the process that writes to that text in all."""
    start_step: Callable[[int], object] = bool
    """Called before each step with the number of steps made."""


class Session(NamedTuple):
    """The moving parts of one run."""

    network: nn.Module
    """The network, on the device."""
    parameters: tuple[nn.Parameter, ...]
    """Its parameters: walking through the modules for them in every step takes longer than the gradient's norm."""
    optimizer: Optimizer
    """Its optimizer."""
    schedule: Schedule
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
    micro_batch: int | None = None
    """Samples per forward pass; ``None`` takes all of a step at once."""
    average: Average | None = None
    """Moving average of the weights, where it is on."""
    class_weights: torch.Tensor | None = None
    """(num_classes,) float32 on the device, or ``None`` where all classes weigh the same."""
    held_buffers: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    """The network's buffers and room for a copy of each, to undo what a skipped step did to them."""
    peers: Peers = Peers()
    """The other processes that train the same network."""
    wrapped: nn.Module | None = None
    """What is called in place of the network, to share the work; its parameters are the network's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch, (N, num_classes), on the device."""
        logits: torch.Tensor = (self.wrapped or self.network)(x)
        return logits

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
    micro_batch: int | None = None,
    class_weights: torch.Tensor | None = None,
) -> Session:
    """Return a run that has not yet made a step; equal seeds give equal weights and orders.

    Raises:
        ConfigError: the weights of ``source`` do not fit as far as asked, a pattern freezes nothing or everything,
            or torch refuses an option of the optimizer.
    """
    seed_everything(seed)
    network = build_network(spec)
    initialize(network, method=model.initialization, generator=torch.Generator().manual_seed(seed))
    started = warm_start(network, model.warm_start, source=source) if model.warm_start and source else None
    frozen = freeze(network, model.freeze)
    network.to(device)
    if config.channels_last and len(spec.input_shape) == 3:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.parallel.split_at is not None:
        split_in_two(
            network, split_at=config.parallel.split_at, devices=stage_devices(config.parallel, device)
        )
    optimizer = make_optimizer(network, config)
    return Session(
        network=network,
        parameters=tuple(network.parameters()),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, config, total_steps=total_steps),
        scaler=torch.amp.GradScaler(device, enabled=precision == "fp16-mixed"),
        shuffle=torch.Generator().manual_seed(seed),
        config=config,
        device=device,
        precision=precision,
        warm_start=started,
        frozen=frozen,
        micro_batch=micro_batch,
        average=start_average(network) if config.ema_decay is not None else None,
        class_weights=None if class_weights is None else class_weights.to(device),
        held_buffers=_buffers(network),
    )


def _buffers(network: nn.Module) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    # In order of type: torch copies a list of one type at once.
    live = sorted(network.buffers(), key=lambda buffer: str(buffer.dtype))
    return live, [buffer.clone() for buffer in live]


class Snapshot(NamedTuple):
    """A copy of a run after one epoch, on the CPU."""

    epoch: int
    """The epoch, from 1."""
    weights: dict[str, torch.Tensor]
    """State of the network: the average of the weights, where that is on."""
    training_state: dict[str, object]
    """Everything else that a continued run needs: plain values and tensors."""


def take_snapshot(session: Session, *, epoch: int) -> Snapshot:
    """Copy a run, so that later steps do not change the copy."""
    with averaged(session.network, session.average):
        weights: dict[str, torch.Tensor] = copy_to_cpu(session.network.state_dict())
    return Snapshot(epoch=epoch, weights=weights, training_state=training_state(session, epoch=epoch))


def training_state(session: Session, *, epoch: int) -> dict[str, object]:
    """Return a copy of everything but the weights that are kept: plain values, and tensors on the CPU."""
    state = {
        "epoch": epoch,
        "optimizer": session.optimizer.state_dict(),
        "schedule": session.schedule.state_dict(),
        "scaler": session.scaler.state_dict(),
        "rng": _rng_states(session),
        # With an average it is the average that the weights file holds.
        "network": session.network.state_dict() if session.average is not None else None,
        "buffers": _unsaved_buffers(session.network),
    }
    copied: dict[str, object] = copy_to_cpu(state)
    return copied


def restore(session: Session, state: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Put a run back to where :func:`training_state` was taken, given the weights that were kept with it."""
    session.network.load_state_dict(weights if state["network"] is None else state["network"])
    if session.average is not None:
        for name, value in session.average.items():
            value.copy_(weights[name])
    _restore_buffers(session.network, state["buffers"], device=session.device)
    session.optimizer.load_state_dict(state["optimizer"])
    session.schedule.load_state_dict(state["schedule"])
    session.scaler.load_state_dict(state["scaler"])
    _set_rng_states(session, state["rng"])


def _unsaved_buffers(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the buffers that are no part of the network's state, but may change from step to step all the same."""
    saved = network.state_dict()
    unsaved = ((name, buffer) for name, buffer in network.named_buffers() if name not in saved)
    # A sparse one is refused in a file that is checked; it is a constant of the network's code.
    return {name: buffer for name, buffer in unsaved if buffer.layout == torch.strided}


def _restore_buffers(network: nn.Module, buffers: dict[str, torch.Tensor], *, device: str) -> None:
    found = dict(network.named_buffers())
    for name, value in buffers.items():
        if name in found:
            # In place: what undoes a skipped step holds the buffer itself. A constant may be a view of fewer values,
            # which cannot be written to.
            if not torch.equal(found[name].cpu(), value):
                found[name].resize_(value.shape).copy_(value)
        else:  # made by a step
            path, _, leaf = name.rpartition(".")
            network.get_submodule(path).register_buffer(leaf, value.to(device), persistent=False)


@contextlib.contextmanager
def preserved_randomness(session: Session) -> Iterator[None]:
    """Leave every source of randomness as it was: what the block draws is not missed afterwards."""
    state = _rng_states(session)
    try:
        yield
    finally:
        _set_rng_states(session, state)


def _rng_states(session: Session) -> dict[str, object]:
    _, keys, *numpy_rest = np.random.get_state(legacy=True)  # noqa: NPY002 - saved, not drawn from
    version, words, gauss = random.getstate()
    return {
        "shuffle": session.shuffle.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if session.device == "cuda" else None,
        "python": [version, torch.tensor(words), gauss],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), *map(float, numpy_rest)],
    }


def _set_rng_states(session: Session, state: dict[str, Any]) -> None:
    session.shuffle.set_state(state["shuffle"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and session.device == "cuda":
        torch.cuda.set_rng_state(state["cuda"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    keys, position, has_gauss, cached = state["numpy"]
    words32 = keys.numpy().astype(np.uint32)
    np.random.set_state(("MT19937", words32, int(position), int(has_gauss), cached))  # noqa: NPY002 - put back


def copy_to_cpu(value: Any) -> Any:
    """Return nested containers with every tensor copied to the CPU, tuples as lists."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copy_to_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copy_to_cpu(item) for item in value]
    return value
