"""Build a network from its ModelSpec, with the normalisation as its first layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from pydantic import JsonValue
from torch import nn

from pt_core.data.dataset import Dataset, load_split
from pt_core.errors import ConfigError
from pt_core.modeling.axes import check_axes
from pt_core.modeling.builder import check_builder
from pt_core.modeling.normalized import Normalized
from pt_core.modeling.spec import ModelConfig, ModelSpec
from pt_core.modeling.target import import_function, nearest
from pt_core.modeling.trial import try_network


def complete_spec(
    config: ModelConfig,
    dataset: Dataset,
    *,
    channels_last: bool,
    batch_size: int = 2,
    device: str = "cpu",
    precision: str = "fp32",
) -> ModelSpec:
    """Return the structure of the configured network for this dataset, tried on a batch of its training samples.

    Args:
        config: which network.
        dataset: what it is to classify.
        channels_last: whether it is to be trained on images in that memory format.
        batch_size: samples that one step of training takes.
        device: where such a batch is tried; what fits into a GPU need not fit into this machine's memory.
        precision: fp32, bf16-mixed or fp16-mixed: what such a batch is tried in, as it is to be trained.

    Raises:
        ConfigError: the function is not there, does not take its arguments, or what it returns does not
            map N samples to (N, num_classes) finite logits, also of every size it declares, or cannot be trained.
    """
    function = import_target(config.target)
    offered: dict[str, JsonValue] = {
        "input_shape": list(dataset.input_shape),
        "num_classes": len(dataset.labels),
    }
    spec = ModelSpec(
        target=config.target,
        arguments=_complete_arguments(function, config, offered),
        input_shape=dataset.input_shape,
        num_classes=len(dataset.labels),
        mean=dataset.mean if config.normalize else None,
        std=dataset.std if config.normalize else None,
        input_range=dataset.input_range,
        dynamic_axes=config.dynamic_axes,
        table=dataset.table,
        images=dataset.images,
    )
    check_axes(spec)
    with torch.random.fork_rng(devices=[]):
        network = build_network(spec)
        batch = torch.tensor(load_split(dataset, "train").x[:batch_size])
        try_network(
            network,
            spec=spec,
            batch=batch,
            channels_last=channels_last,
            checkpointing=config.gradient_checkpointing,
            device=device,
            precision=precision,
        )
    return spec


def build_network(spec: ModelSpec) -> nn.Module:
    """Return the network in training mode, its weights as its own code draws them.

    Raises:
        ConfigError: the code behind the import path is missing or refuses its arguments.
    """
    function = import_target(spec.target)
    try:
        network = function(**spec.arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        shown = ", ".join(f"{name}={value!r}" for name, value in spec.arguments.items())
        raise ConfigError(f"model: {spec.target}({shown}) raised {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"model: {spec.target} returned {type(network).__name__}, expected a torch.nn.Module"
        )
    lazy = [name for name, value in network.named_parameters() if nn.parameter.is_lazy(value)]
    if lazy:
        raise ConfigError(
            f"model: {spec.target} leaves {lazy[0]} without a shape; give lazy layers their input sizes"
        )
    return Normalized(network, spec=spec).train()


def import_target(target: str) -> Callable[..., Any]:
    """Return the function or class behind "module:function".

    Raises:
        ConfigError: the module or the name is missing, with the nearest name, the module cannot be imported, or
            what it names builds no network.
    """
    function = import_function(target)
    check_builder(target, function)
    return function


def _complete_arguments(
    function: Callable[..., Any], config: ModelConfig, offered: dict[str, JsonValue]
) -> dict[str, JsonValue]:
    parameters = inspect.signature(function).parameters
    named = [name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, value in config.arguments.items():
        if name not in named and not takes_any:
            valid = ", ".join(named) or "none"
            raise ConfigError(
                f"model.arguments.{name}: {config.target} takes no such argument{nearest(name, named)}; it takes {valid}"
            )
        if name in offered and value != offered[name]:
            raise ConfigError(
                f"model.arguments.{name}: {value}, but the data has {offered[name]}; leave it out, it is filled in"
            )
    arguments = {**{name: offered[name] for name in offered if name in named}, **config.arguments}
    missing = [name for name in named if name not in arguments and parameters[name].default is inspect._empty]
    if missing:
        raise ConfigError(
            f"model.arguments: {config.target} needs {', '.join(missing)}; set model.arguments.{missing[0]}"
        )
    return arguments
