"""Read a configuration: strict YAML and --set overrides in, a PipelineConfig or one clear line per problem out."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from flows.config import PipelineConfig
from pt_core.errors import ConfigError

CONFIGS = Path(__file__).parent.parent / "deployments" / "configs"
"""The configurations that are shipped."""
DEFAULT_CONFIG = "digits"
"""Name of the shipped configuration that runs if none is given."""

Tree = dict[str, object]


class _StrictLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys; here the second is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem="a key must be plain text", problem_mark=key.start_mark
                )
            if key.value in keys:
                raise yaml.constructor.ConstructorError(
                    problem=f"duplicate key {key.value!r}", problem_mark=key.start_mark
                )
            keys.add(key.value)
        return super().construct_mapping(node, deep)


def find_config(name: str) -> Path:
    """Return the path of a configuration, given as a path or as the name of a shipped one.

    Raises:
        ConfigError: there is neither.
    """
    shipped = {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}
    path = Path(name)
    if path.is_file():
        return path.resolve()
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name, shipped, n=1)
    hint = f"did you mean {near[0]}?" if near else f"shipped are {', '.join(shipped)}"
    raise ConfigError(f"{name}: no such file, and no shipped configuration of that name; {hint}")


def load_config(path: Path, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Read a YAML file, apply ``a.b=value`` overrides, and validate the whole.

    Raises:
        ConfigError: one line for each problem, with its path, what was expected and the nearest name.
    """
    return settings_of(read_tree(path), overrides, base_dir=path.parent, where=path.name)


def settings_of(tree: Tree, overrides: Sequence[str], *, base_dir: Path, where: str) -> PipelineConfig:
    """Apply ``a.b=value`` overrides to plain settings, and validate the whole.

    Args:
        tree: the settings, which are changed in place.
        overrides: changes to them.
        base_dir: what the path of a policy is relative to.
        where: what they are called in a message.

    Raises:
        ConfigError: one line for each problem, with its path, what was expected and the nearest name.
    """
    _open_policy(tree, base_dir)
    for override in overrides:
        apply_override(tree, override)
        _open_policy(tree, base_dir)
    return validate(tree, PipelineConfig, where=where)


R = TypeVar("R", bound=BaseModel)


def validate(tree: Tree, record: type[R], *, where: str) -> R:
    """Return settings as a record.

    Raises:
        ConfigError: one line for each problem, with its path, what was expected and the nearest name.
    """
    try:
        return record.model_validate(tree)
    except ValidationError as error:
        lines = [_describe(problem, record) for problem in _innermost(error.errors(include_url=False))]
        if len(lines) == 1:
            raise ConfigError(f"{where}: {lines[0]}") from None
        raise ConfigError(f"{where}: {len(lines)} problems", details=lines) from None


def _open_policy(tree: Tree, base_dir: Path) -> None:
    """Put the settings of a policy in the place of its name."""
    from flows.policy import policy_tree

    gate = tree.get("gate")
    if isinstance(gate, str):
        tree["gate"] = policy_tree(gate, base_dir=base_dir)


def read_tree(path: Path) -> Tree:
    """Return the settings of a YAML file.

    Raises:
        ConfigError: it cannot be read, or is no mapping of unique names.
    """
    try:
        # _StrictLoader is a SafeLoader: it builds plain values only.
        tree = yaml.load(path.read_text(), Loader=_StrictLoader)  # noqa: S506
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(tree).__name__}")
    return tree


def apply_override(tree: Tree, override: str) -> None:
    """Put one ``a.b=value`` into the settings.

    Raises:
        ConfigError: there is no such place.
    """
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise ConfigError(f"--set {override}: expected NAME.NAME=VALUE, for example train.epochs=3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: {text!r} is not a YAML value") from error
    *parents, last = path.split(".")
    node: object = tree
    for name in parents:
        node = node.setdefault(name, {}) if isinstance(node, dict) else _element(node, name, override)
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list):
        _element(node, last, override)
        node[int(last)] = value
    else:
        raise ConfigError(f"--set {override}: {'.'.join(parents)} is a value and has no {last!r}")


def _element(node: object, index: str, override: str) -> object:
    if isinstance(node, list) and index.isdigit() and int(index) < len(node):
        return node[int(index)]
    raise ConfigError(f"--set {override}: there is no element {index!r}")


def _innermost(problems: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out what only follows from a problem further in, such as a list made empty by its broken element."""
    places = [problem["loc"] for problem in problems]
    return [p for p in problems if not any(q[: len(p["loc"])] == p["loc"] and q != p["loc"] for q in places)]


def _describe(problem: ErrorDetails, record: type[BaseModel]) -> str:
    """Return one line: path, what was expected, what was found, the nearest valid name."""
    location = [
        part for part in problem["loc"] if not (isinstance(part, str) and part.startswith("function-"))
    ]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    prefix = f"{path}: " if path else ""
    found = problem["input"]
    if problem["type"] == "extra_forbidden":
        names = _fields_at(location[:-1], record)
        near = difflib.get_close_matches(str(location[-1]), names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(names)}"
        return f"{prefix}unknown setting; {hint}"
    if problem["type"] == "missing":
        return f"{prefix}missing, expected a value"
    if problem["type"] == "value_error":
        return f"{prefix}{problem['msg'].removeprefix('Value error, ')}"
    message = problem["msg"].removeprefix("Input should be ").replace("String should", "a text that should")
    shown = (
        repr(found) if isinstance(found, str | int | float | bool) or found is None else type(found).__name__
    )
    return f"{prefix}expected {message}, found {shown}{_nearest_choice(problem)}"


def _nearest_choice(problem: ErrorDetails) -> str:
    if problem["type"] != "literal_error":
        return ""
    choices = problem.get("ctx", {}).get("expected", "").replace(" or ", ", ").replace("'", "").split(", ")
    near = difflib.get_close_matches(str(problem["input"]), choices, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _fields_at(location: Sequence[str | int], model: type[BaseModel]) -> list[str]:
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)
