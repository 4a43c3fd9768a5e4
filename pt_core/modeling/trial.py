"""Try a network on real samples, as it is evaluated and as it is trained, before any work is put into it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import nn

from pt_core.child import is_out_of_memory
from pt_core.devices import AUTOCAST_DTYPES
from pt_core.errors import ConfigError
from pt_core.modeling.axes import axis_shapes, resize
from pt_core.modeling.memory import trying_to_save
from pt_core.modeling.spec import ModelSpec

_REFUSALS = (TypeError, ValueError, RuntimeError, IndexError)
"""What a network raises on input that it is not made for."""


def try_network(
    network: nn.Module,
    *,
    spec: ModelSpec,
    batch: torch.Tensor,
    channels_last: bool,
    checkpointing: bool | Sequence[str] = False,
    device: str = "cpu",
    precision: str = "fp32",
) -> None:
    """Refuse a network that cannot be trained to classify samples like these.

    Args:
        network: thrown away afterwards: its memory format, mode, device and running statistics change.
        spec: what it was built from.
        batch: (N, *input_shape) float32, as many as one step of training takes, at least two; evaluation is tried on
            the first two.
        channels_last: whether it is to be trained in that memory format, if its input has four dimensions.
        checkpointing: what is to be recomputed in training, and here: a trial must not take the memory that it saves.
        device: where the whole batch is tried; two samples are always tried on the CPU, where artifacts run too.
        precision: fp32, bf16-mixed or fp16-mixed: what the whole batch is tried in; the two samples are FP32.

    Raises:
        ConfigError: it raises, does not map two samples to (2, num_classes) finite logits, does not take every size
            it declares, gives something else in training mode, nothing in it can be trained, or what is to be
            recomputed is never called.
    """
    with trying_to_save(network, checkpointing):
        batch = _try_evaluating(network, spec=spec, batch=batch, channels_last=channels_last)
        _try_training(network.to(device), spec=spec, batch=batch.to(device), precision=precision)


def _try_evaluating(
    network: nn.Module, *, spec: ModelSpec, batch: torch.Tensor, channels_last: bool
) -> torch.Tensor:
    """Return the batch in the memory format that it is to be trained in."""
    whole, batch = batch, batch[:2]
    network.eval()
    # Not inference_mode: what a network keeps from this pass could not be used in the one with gradients below.
    with torch.no_grad():
        logits = _forward(network, spec=spec, batch=batch, mode="")
        _check_logits(logits, spec=spec, num_samples=2, mode="")
        _try_sizes(network, spec=spec, batch=batch)
        if channels_last and batch.ndim == 4:
            whole, batch = (x.contiguous(memory_format=torch.channels_last) for x in (whole, batch))
            _try_channels_last(network, spec=spec, batch=batch)
    if not bool(torch.isfinite(logits).all()):
        raise ConfigError(
            f"model: {spec.target} gives NaN or infinite logits on two training samples before any training"
        )
    return whole


def _try_sizes(network: nn.Module, *, spec: ModelSpec, batch: torch.Tensor) -> None:
    for shape in axis_shapes(spec.input_shape, spec.dynamic_axes):
        resized = torch.from_numpy(resize(batch.numpy(), shape))
        try:
            logits = network(resized)
        except _REFUSALS as error:
            raise ConfigError(
                f"model.dynamic_axes: {spec.target} takes samples {spec.input_shape} and not {shape}: "
                f"{type(error).__name__}: {error}; declare only sizes that it takes, or pool adaptively before "
                "the first layer of a fixed size"
            ) from error
        _check_logits(logits, spec=spec, num_samples=2, mode=f" of samples {shape}")


def _try_channels_last(network: nn.Module, *, spec: ModelSpec, batch: torch.Tensor) -> None:
    try:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network(batch)
    except _REFUSALS as error:
        raise ConfigError(
            f"model: {spec.target} works, but not in the channels_last memory format: {error}; "
            "set train.channels_last=false, or call reshape or flatten in place of view in its forward"
        ) from error


def _try_training(network: nn.Module, *, spec: ModelSpec, batch: torch.Tensor, precision: str) -> None:
    network.train()
    dtype = AUTOCAST_DTYPES.get(precision)
    mode = f" in training mode{f' and {precision}' if dtype else ''}"
    cast = torch.autocast(batch.device.type, dtype=dtype) if dtype else contextlib.nullcontext()
    with torch.enable_grad(), cast:
        logits = _forward(network, spec=spec, batch=batch, mode=mode)
    _check_logits(logits, spec=spec, num_samples=len(batch), mode=mode)
    if not logits.requires_grad:
        raise ConfigError(
            f"model: nothing in {spec.target} can be trained: its logits depend on no parameter that needs a "
            "gradient; leave requires_grad on for at least the last layer"
        )


def _forward(network: nn.Module, *, spec: ModelSpec, batch: torch.Tensor, mode: str) -> torch.Tensor:
    try:
        logits = network(batch)
    except _REFUSALS as error:
        if is_out_of_memory(error):  # no fault of the network: half the batch may do
            raise
        raise ConfigError(
            f"model: {spec.target} failed{mode} on a batch of shape {tuple(batch.shape)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point():
        kind = logits.dtype if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ConfigError(
            f"model: {spec.target} returns {kind}{mode}, expected one floating-point tensor of logits; "
            "give model.target a network without other outputs, e.g. with auxiliary ones switched off"
        )
    return logits


def _check_logits(logits: torch.Tensor, *, spec: ModelSpec, num_samples: int, mode: str) -> None:
    if tuple(logits.shape) != (num_samples, spec.num_classes):
        raise ConfigError(
            f"model: {spec.target} maps a batch of {num_samples} to shape {tuple(logits.shape)}{mode}, expected "
            f"({num_samples}, {spec.num_classes}): a row of logits for each sample"
        )
