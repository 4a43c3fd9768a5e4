"""Refuse to call, for a name found in a file, anything but code that builds networks."""

from __future__ import annotations

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
    one could otherwise name ``subprocess:getoutput``. Accepted are a Module class, a function whose annotation
    says that it returns one, and a function of a module outside torch and the standard library that works with torch.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(function, type):
        accepted = issubclass(function, nn.Module)
    else:
        accepted = _is_module_class(_return_type(function)) or _is_local_torch_code(function)
    if not accepted:
        raise ConfigError(
            f"model.target: {target} shows no sign of building a network, so it is not called; "
            "name an nn.Module class or a function annotated to return torch.nn.Module"
        )


def _return_type(function: Callable[..., Any]) -> object:
    try:
        return typing.get_type_hints(function).get("return")
    # A name that is imported for type checkers only; or something that has no annotations at all.
    except (NameError, TypeError, AttributeError):
        return None


def _is_local_torch_code(function: Callable[..., Any]) -> bool:
    module = inspect.getmodule(function)
    if module is None or not inspect.isfunction(function):
        return False
    top_level = module.__name__.partition(".")[0]
    if top_level == "torch" or top_level in sys.stdlib_module_names:
        return False
    return any(_is_module_class(value) or _is_torch(value) for value in vars(module).values())


def _is_torch(value: object) -> bool:
    return isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] == "torch"


def _is_module_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)
