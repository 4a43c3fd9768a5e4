"""Model parallel: a network in two stages on two devices, its names and results those of the network in one piece."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from pt_core.errors import ConfigError
from pt_core.modeling.normalized import own_network
from pt_core.modeling.target import nearest
from pt_core.training.parallel_config import ParallelConfig

_WHERE = "train.parallel"


def stage_devices(config: ParallelConfig, device: str) -> tuple[str, str]:
    """Return the device of each stage of a training on ``device``.

    Raises:
        ConfigError: there are not two GPUs, or the devices named are not here or begin on another one.
    """
    if config.devices is None:
        if device == "cpu":
            return "cpu", "cpu"
        if device == "cuda" and torch.cuda.device_count() >= 2:
            return "cuda:0", "cuda:1"
        raise ConfigError(
            f"{_WHERE}: model_parallel takes two GPUs by itself, found {torch.cuda.device_count()}; "
            "set train.parallel.devices, e.g. [cuda:0, cpu], or train.device to cpu"
        )
    for name in config.devices:
        _refuse_absent(name)
    if torch.device(config.devices[0]).type != device:
        raise ConfigError(
            f"{_WHERE}.devices: the first stage is on {config.devices[0]}, but train.device is {device}; "
            "batches start where the first stage is"
        )
    return config.devices


def split_in_two(network: nn.Module, *, split_at: str, devices: tuple[str, str]) -> None:
    """Put the modules from ``split_at`` on onto the second device, and move what flows between the stages.

    The order is that in which the modules were registered, so it has to be the one in which they are called.
    Outputs return to the first device, where the labels are.

    Args:
        network: changed in place, wholly on the first device before.
        split_at: name of a module in the author's own code.
        devices: of the two stages; equal ones change nothing but where tensors would be moved.

    Raises:
        ConfigError: there is no such module, or a parameter belongs to both stages.
    """
    modules = dict(own_network(network).named_modules())
    names = [name for name in modules if name]
    if split_at not in names:
        raise ConfigError(
            f"{_WHERE}.split_at: the network has no module {split_at}{nearest(split_at, names)}; "
            f"its modules begin with {', '.join(names[:8]) or 'none'}"
        )
    second = [modules[name] for name in names[names.index(split_at) :]]
    _refuse_shared(network, second, split_at)
    for module in second:
        module._apply(lambda tensor: tensor.to(devices[1]), recurse=False)
        if module is modules[split_at] or _holds_tensors(module):
            module.register_forward_pre_hook(_moving(devices[1]), with_kwargs=True)
    network.register_forward_hook(lambda _module, _inputs, logits: logits.to(devices[0]))


def _moving(device: str) -> Any:
    def move(_module: nn.Module, inputs: Any, named: Any) -> Any:
        return tree_map(
            lambda value: value.to(device) if isinstance(value, torch.Tensor) else value, (inputs, named)
        )

    return move


def _holds_tensors(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))


def _refuse_shared(network: nn.Module, second: list[nn.Module], split_at: str) -> None:
    later = {id(p) for module in second for p in module.parameters(recurse=False)}
    chosen = {id(module) for module in second}
    for name, module in network.named_modules():
        if id(module) in chosen:
            continue
        if any(id(p) in later for p in module.parameters(recurse=False)):
            raise ConfigError(
                f"{_WHERE}.split_at: {split_at} would part {name.removeprefix('network.') or 'the network'} from a "
                "module that shares a parameter with it; split after both or before both"
            )


def _refuse_absent(name: str) -> None:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        said = str(error).partition("\n")[0]
        raise ConfigError(
            f"{_WHERE}.devices: {name} cannot be used here: {said}; name devices of this machine"
        ) from error
