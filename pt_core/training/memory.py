"""Train once more with half the batch where memory ran out and the configuration allows it."""

from __future__ import annotations

from collections.abc import Callable

from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.errors import OutOfMemory
from pt_core.training.requests import TrainRequest

_LEAST = 2
"""Samples of a forward pass that are not halved."""


def with_halving(train: Callable[[TrainRequest], Checkpoint], request: TrainRequest) -> Checkpoint:
    """Train; if memory runs out, train once more with half the batch in each forward pass and twice as many of them.

    The second attempt goes on from the last durable checkpoint of the first, in a process of its own if
    ``train`` starts one: what the first held is gone then.

    Raises:
        OutOfMemory: memory ran out, for the second time where halving is allowed; the message says what to do.
        PtCoreError: as ``train`` raises it.
    """
    try:
        return train(request)
    except OutOfMemory as error:
        if request.config.on_out_of_memory == "fail":
            raise error.with_message(
                f"{error.message}; set train.on_out_of_memory to halve-batch, or train.batch_size lower with "
                "train.accumulation_steps higher, or model.gradient_checkpointing"
            ) from error
        if request.halve_batch:
            raise
        if request.config.batch_size <= _LEAST:
            raise error.with_message(
                f"{error.message}; a batch of {request.config.batch_size} cannot be halved, since batch normalisation "
                "needs two samples: try model.gradient_checkpointing, or a smaller network or input"
            ) from error
    try:
        return train(request.model_copy(update={"halve_batch": True}))
    except OutOfMemory as error:
        raise error.with_message(
            f"{error.message}; the batch of {request.config.batch_size} was halved already: set train.batch_size lower"
        ) from error
