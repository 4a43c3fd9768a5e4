"""Gradient checkpointing: recompute the activations of a network's blocks instead of keeping them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pt_core.errors import ConfigError


@contextlib.contextmanager
def gradient_checkpointing(network: nn.Module) -> Iterator[int]:
    """Checkpoint every block of a network while the context is open; yield how many there are.

    Blocks are what :func:`find_blocks` finds.
    Loss, gradients, buffers and the keys of the state are those without checkpointing; on leaving, the
    network is exactly what it was, so that nothing of this reaches an exported graph.

    Raises:
        ConfigError: the network has no such block.
    """
    blocks = find_blocks(network)
    if not blocks:
        raise ConfigError(
            f"model.gradient_checkpointing: {type(network).__name__} has no blocks to recompute; put them into "
            "an nn.Sequential or nn.ModuleList, each block a module of several layers, or set it to false"
        )
    for block in blocks:
        block.forward = _checkpointed(block)
    try:
        yield len(blocks)
    finally:
        for block in blocks:
            del block.__dict__["forward"]


def find_blocks(network: nn.Module) -> list[nn.Module]:
    """Return the blocks of a network, in order: the innermost containers' children that have layers inside.

    A single layer is no block: its input is kept either way, so recomputing it saves nothing.
    """
    is_container = isinstance(network, nn.Sequential | nn.ModuleList)
    blocks: list[nn.Module] = []
    for child in network.children():
        has_layers = any(True for _ in child.children()) and any(True for _ in child.parameters())
        inner = find_blocks(child)
        blocks += inner or ([child] if is_container and has_layers else [])
    return list(dict.fromkeys(blocks))


def _checkpointed(block: nn.Module) -> Callable[..., Any]:
    forward = block.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        if not (block.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        return checkpoint(
            forward,
            *args,
            use_reentrant=False,
            context_fn=lambda: (contextlib.nullcontext(), _keep_buffers(block)),
            **kwargs,
        )

    return run


@contextlib.contextmanager
def _keep_buffers(block: nn.Module) -> Iterator[None]:
    """Undo what the second forward pass does to buffers: batch statistics would count each batch twice."""
    saved = [(buffer, buffer.clone()) for buffer in block.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in saved:
                buffer.copy_(value)
