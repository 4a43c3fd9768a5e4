"""Freezing: parameters chosen by name take no gradient, and batch normalisation that is frozen whole stands still."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from pt_core.errors import ConfigError
from pt_core.modeling.names import matching
from pt_core.modeling.normalized import own_network

_BATCH_NORM = nn.modules.batchnorm._BatchNorm


def freeze(network: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """Stop the training of the parameters whose names match, and return those names.

    Without gradient they get no optimizer state, no weight decay and no share in the gradient norm.

    Args:
        network: changed in place.
        patterns: ``fnmatch`` patterns over the names in the author's own code.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to train.
    """
    parameters = dict(own_network(network).named_parameters())
    frozen = matching(patterns, tuple(parameters), where="model.freeze")
    for name in frozen:
        parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError(
            f"model.freeze: all {len(parameters)} parameters are frozen, so nothing would be trained; "
            "leave at least the last layer out"
        )
    return frozen


def training_mode(network: nn.Module) -> None:
    """Put a network into training mode, except the batch normalisation of its frozen parts.

    A part is frozen if it has parameters and none of them is trained. Its batch normalisation normalises by the
    statistics that it came with and leaves them alone: else the frozen part would compute something else after
    every step. Dropout stays on everywhere.
    """
    network.train()
    for layer in _frozen_norms(network):
        layer.eval()


def _frozen_norms(module: nn.Module) -> Iterator[nn.Module]:
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        yield from (part for part in module.modules() if isinstance(part, _BATCH_NORM))
        return
    for child in module.children():
        yield from _frozen_norms(child)
