"""Gradient checkpointing: recompute the activations inside a network's modules instead of keeping them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pt_core.data.checks import join
from pt_core.errors import ConfigError
from pt_core.modeling.names import matching
from pt_core.modeling.normalized import own_network

_WHERE = "model.gradient_checkpointing"


@contextlib.contextmanager
def gradient_checkpointing(network: nn.Module, patterns: Sequence[str] | None = None) -> Iterator[int]:
    """Checkpoint modules of a network while the context is open; yield how many there are.

    Loss, gradients, buffers and the keys of the state are those without checkpointing; on leaving, the
    network is exactly what it was, so that nothing of this reaches an exported graph.

    Args:
        network: in training mode or not; in evaluation mode nothing is recomputed.
        patterns: which modules, by :func:`choose_modules`; ``None`` takes what :func:`find_blocks` finds.

    Raises:
        ConfigError: the network has no such block, or a pattern chooses nothing that can be recomputed.
    """
    chosen = _choose(network, patterns)
    with _recomputing(chosen):
        yield len(chosen)


def _choose(network: nn.Module, patterns: Sequence[str] | None) -> list[nn.Module]:
    chosen = find_blocks(network) if patterns is None else choose_modules(network, patterns)
    if not chosen:
        raise ConfigError(
            f"{_WHERE}: {type(network).__name__} has no blocks to recompute; put them into "
            "an nn.Sequential or nn.ModuleList, each block a module of several layers, name modules by patterns, "
            "or set it to false"
        )
    return chosen


@contextlib.contextmanager
def _recomputing(chosen: Sequence[nn.Module]) -> Iterator[set[int]]:
    """Checkpoint modules while the context is open; yield the ``id`` of each that has been called."""
    called: set[int] = set()
    # A forward of the instance's own, as some libraries set it, is put back.
    before = [module.__dict__.get("forward") for module in chosen]
    for module in chosen:
        module.forward = _checkpointed(module, called)
    try:
        yield called
    finally:
        for module, forward in zip(chosen, before, strict=True):
            del module.__dict__["forward"]
            if forward is not None:
                module.forward = forward


def saving_memory(network: nn.Module, choice: bool | Sequence[str]) -> contextlib.AbstractContextManager[int]:
    """Return the context of the configured choice: all blocks, the modules of some patterns, or none.

    What is freed goes back to the system only in a process that allocates as :mod:`pt_core.modeling.allocation` says,
    as the pipeline's training does; elsewhere a convolutional network on the CPU may peak as high as without.
    """
    if not choice:
        return contextlib.nullcontext(0)
    return gradient_checkpointing(network, None if choice is True else choice)


@contextlib.contextmanager
def trying_to_save(network: nn.Module, choice: bool | Sequence[str]) -> Iterator[None]:
    """As :func:`saving_memory`, around passes that try a network; refuse a choice of which nothing comes.

    Raises:
        ConfigError: as :func:`gradient_checkpointing`, or a module that patterns choose was never called, or no block.
    """
    if not choice:
        yield
        return
    chosen = _choose(network, None if choice is True else choice)
    with _recomputing(chosen) as called:
        yield
    idle = [module for module in chosen if id(module) not in called]
    if idle and (choice is not True or len(idle) == len(chosen)):
        names = {id(module): name for name, module in own_network(network).named_modules()}
        raise ConfigError(
            f"{_WHERE}: {join([names[id(module)] for module in idle])} of {type(own_network(network)).__name__}: never "
            "called itself in a pass over training samples, so nothing would be recomputed there; take modules that its "
            "forward calls, e.g. those inside by NAME.*, call it as one, or set it to false"
        )


def choose_modules(network: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Return the modules whose names match, in order; of one inside another only the outer, which covers both.

    Raises:
        ConfigError: a pattern matches nothing, or a container that is never called.
    """
    modules = {name: module for name, module in own_network(network).named_modules() if name}
    matched = matching(patterns, tuple(modules), where=_WHERE)
    chosen: dict[str, nn.Module] = {}
    for name in matched:
        if isinstance(modules[name], nn.ModuleList | nn.ModuleDict):
            _refuse_alone(name, modules[name], matched)
        elif not any(name.startswith(f"{outer}.") for outer in chosen):
            chosen[name] = modules[name]
    return list(dict.fromkeys(chosen.values()))


def _refuse_alone(name: str, container: nn.Module, matched: Sequence[str]) -> None:
    if not any(other.startswith(f"{name}.") for other in matched):
        raise ConfigError(
            f"{_WHERE}: {name} is an nn.{type(container).__name__}, which is never called itself; "
            f"take the modules in it by {name}.*"
        )


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


def _checkpointed(block: nn.Module, called: set[int]) -> Callable[..., Any]:
    forward = block.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        called.add(id(block))
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
