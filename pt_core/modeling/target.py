"""Find what an import path "module:function" names: checked by reading its source, or imported."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, cast

from pt_core.errors import ConfigError


def check_target(target: str, *, where: str = "model.target") -> None:
    """Refuse an import path whose module or name is not there, importing nothing heavy.

    Args:
        target: "module:function".
        where: the setting that it stands in.

    Raises:
        ConfigError: with the nearest name that the module defines, or a package that it is in cannot be imported.
    """
    module, _, name = target.partition(":")
    spec = _find(module, where)
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"{where}: no module named {module!r}; it is looked for beside the configuration file (in the current folder "
            "where a command takes none), in the folders of PT_PIPELINE_CODE_PATH and among the installed packages"
        )
    if not spec.origin.endswith(".py"):
        return
    defined = _top_level_names(Path(spec.origin), where)
    if name not in defined:
        near = difflib.get_close_matches(name, defined, n=1)
        hint = (
            f"did you mean {module}:{near[0]}?" if near else f"it defines {', '.join(sorted(defined)[:10])}"
        )
        raise ConfigError(f"{where}: {spec.origin} defines no {name!r}; {hint}")


def import_function(target: str, *, where: str = "model.target") -> Callable[..., Any]:
    """Return the function or class behind "module:function".

    Raises:
        ConfigError: the module or the name is missing, with the nearest name, or the module cannot be imported.
    """
    check_target(target, where=where)
    module_name, _, name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"{where}: {module_name} cannot be imported: {error}; install what it needs"
        ) from error
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        raise _broken(module_name, error, where) from error
    if not hasattr(module, name):
        raise ConfigError(f"{where}: {module_name} defines no {name!r}{nearest(name, dir(module))}")
    function = getattr(module, name)
    if not callable(function):
        raise ConfigError(f"{where}: {target} is a {type(function).__name__}, expected a function or class")
    return cast("Callable[..., Any]", function)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a hint at the name that was meant, or nothing."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _find(module: str, where: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    except (Exception, SystemExit) as error:  # to find a module, the packages that it is in are imported
        raise _broken(module, error, where) from error


def _broken(module: str, error: BaseException, where: str) -> ConfigError:
    said = " ".join(str(error).split())
    return ConfigError(
        f"{where}: {module} cannot be imported: it raised {type(error).__name__}: {said}; "
        f"see what python -c 'import {module}' says"
    )


def _top_level_names(path: Path, where: str) -> set[str]:
    names: set[str] = set()
    try:
        body = ast.parse(path.read_text()).body
    except SyntaxError as error:
        raise ConfigError(f"{where}: {path}:{error.lineno}: {error.msg}") from error
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(leaf.id for t in node.targets for leaf in ast.walk(t) if isinstance(leaf, ast.Name))
    return names
