"""The last forward pass of an epoch, which has the fewest samples: refused where they are too few to be shared."""

from __future__ import annotations

import torch
from torch import nn

from pt_core.errors import ConfigError
from pt_core.training.batches import in_batches
from pt_core.training.session import Session

_WHERE = "train.parallel"


def refuse_lone_samples(network: nn.Module, num_samples: int, *, num_gpus: int) -> None:
    """Refuse copies of a network of which one would normalise a batch of one sample.

    Args:
        network: the one that is copied.
        num_samples: of the smallest forward pass, that of all copies together.
        num_gpus: how many copies there are.

    Raises:
        ConfigError: one copy gets a single sample, and batch normalisation needs two.
    """
    # As DataParallel cuts a batch.
    lone = any(len(part) == 1 for part in torch.arange(num_samples).chunk(num_gpus))
    if lone and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
        raise ConfigError(
            f"{_WHERE}: the last forward pass of an epoch has {num_samples} samples, of which dp gives one of "
            f"{num_gpus} GPUs a single one, and batch normalisation needs two; change train.batch_size, or take ddp"
        )


def last_pass(session: Session, num_samples: int, *, num_ranks: int) -> int:
    """Return how many samples the last forward pass of an epoch has, in all processes together."""
    last_step = in_batches(torch.arange(num_samples), session.config.step_size)[-1]
    size = (session.micro_batch or session.config.batch_size) * num_ranks
    return len(in_batches(last_step, size)[-1])


def refuse_small_steps(session: Session, num_samples: int) -> None:
    """Refuse processes of which one would have no sample.

    Raises:
        ConfigError: the last forward pass of an epoch has fewer samples than there are processes.
    """
    num = session.config.parallel.world_size
    last = last_pass(session, num_samples, num_ranks=num)
    if last < num:
        raise ConfigError(
            f"{_WHERE}: the last forward pass of an epoch has {last} of {num_samples} samples for {num} processes; "
            "change train.batch_size, or set fewer processes"
        )
