"""Refuse to call, for a name found in a file, anything but code that builds networks."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

from torch import nn

from pt_core.errors import ConfigError


def check_builder(target: str, function: Callable[..., Any]) -> None:
    """Refuse a callable that shows no sign of building a network, before it is called.

    A bundle names the function that rebuilds its network and the arguments to call it with, so whoever writes
    one could otherwise name ``subprocess:getoutput``, or ``torch.fx.graph_module:reduce_graph_module``, which
    returns a Module and runs code it is given as text. Accepted are a Module class, of torch's own only those of
    ``torch.nn``, and a function of a module outside torch and the standard library that is annotated to return
    a Module or stands beside code that works with torch. Of an object that can be called, its ``__call__`` is
    such a function; of a ``functools.partial``, what it calls is any of these.

    Raises:
        ConfigError: it is none of these, or it is a network already.
    """
    if isinstance(function, nn.Module):
        raise ConfigError(
            f"model.target: {target} is a network, expected what builds one: every training starts with a network of "
            "its own; name its class, or a function that returns it"
        )
    function = _what_is_called(function)
    if isinstance(function, type):
        accepted = issubclass(function, nn.Module) and _is_layer_or_foreign(function)
    else:
        accepted = _is_foreign(function) and (
            _is_module_class(_return_type(function)) or _is_torch_code(function)
        )
    if not accepted:
        raise ConfigError(
            f"model.target: {target} shows no sign of building a network, so it is not called; "
            "name an nn.Module class or a function of your own annotated to return torch.nn.Module"
        )


def _what_is_called(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)  # what functools.wraps or a cache stands before
    if isinstance(function, type) or inspect.isroutine(function):
        return function
    return type(function).__call__


def _return_type(function: Callable[..., Any]) -> object:
    try:
        return typing.get_type_hints(function).get("return")
    # A name that is imported for type checkers only; or something that has no annotations at all.
    except (NameError, TypeError, AttributeError):
        return None


def _is_foreign(function: Callable[..., Any]) -> bool:
    """Return whether neither torch nor the standard library defines it."""
    module = inspect.getmodule(function)
    if module is None:
        return False
    top_level = module.__name__.partition(".")[0]
    return top_level != "torch" and top_level not in sys.stdlib_module_names


def _is_layer_or_foreign(network: type[nn.Module]) -> bool:
    return network.__module__.startswith("torch.nn.") or _is_foreign(network)


def _is_torch_code(function: Callable[..., Any]) -> bool:
    module = inspect.getmodule(function)
    if module is None or not inspect.isfunction(function):
        return False
    return any(_is_module_class(value) or _is_torch(value) for value in vars(module).values())


def _is_torch(value: object) -> bool:
    return isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] == "torch"


def _is_module_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)
