"""Check that an import path "module:function" exists, by reading its source and importing nothing heavy."""

from __future__ import annotations

import ast
import difflib
import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

from pt_core.errors import ConfigError


def check_target(target: str) -> None:
    """Refuse an import path whose module or name is not there.

    Raises:
        ConfigError: with the nearest name that the module defines.
    """
    module, _, name = target.partition(":")
    spec = _find(module)
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"model.target: no module named {module!r}; it is looked for beside the configuration file "
            "and among the installed packages"
        )
    if not spec.origin.endswith(".py"):
        return
    defined = _top_level_names(Path(spec.origin))
    if name not in defined:
        near = difflib.get_close_matches(name, defined, n=1)
        hint = (
            f"did you mean {module}:{near[0]}?" if near else f"it defines {', '.join(sorted(defined)[:10])}"
        )
        raise ConfigError(f"model.target: {spec.origin} defines no {name!r}; {hint}")


def _find(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None


def _top_level_names(path: Path) -> set[str]:
    names: set[str] = set()
    try:
        body = ast.parse(path.read_text()).body
    except SyntaxError as error:
        raise ConfigError(f"model.target: {path}:{error.lineno}: {error.msg}") from error
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(leaf.id for t in node.targets for leaf in ast.walk(t) if isinstance(leaf, ast.Name))
    return names
